// Package runtime runs system containers: the image's own init as PID 1 in
// namespaces of its own, without a daemon.
//
// Start re-executes the calling program as a supervisor, one small process for
// each running instance, which makes the cgroups and the namespaces (see package
// stage for what happens inside), plugs in the network, keeps the console,
// starts the instance anew when it reboots, and cleans up when it ends. In
// between it waits (package wait). Exec joins a running instance from the calling
// process itself (package join).
//
// What is true is asked of the kernel: an instance runs when the process that
// its state file names has the start time noted there. A supervisor is alive
// when it holds the flock of its run directory. Everything it makes is noted in
// the state file before it is made, so that whoever finds the lock free can
// clean up (Sweep, Start and Stop do), or take its place (Sweep).
//
// The package does not know pools, images or networks as a whole: it gets a
// directory, cgroup path and interfaces, and leaves the rest to its caller.
//
// Programs that use it must call Main first thing in main.
package runtime
