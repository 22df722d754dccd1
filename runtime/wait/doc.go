// Package wait is what a supervisor is while its instance runs: a small process
// that waits.
//
// A supervisor needs all of the program for a moment, when the instance starts,
// reboots or ends, and next to nothing for hours in between. So once the
// instance runs it executes the program anew, with the same process number,
// children, lock and descriptors, and this package's init never returns then.
// Go initialises packages in the order of their import paths, each as soon as
// what it imports has been (Go specification, "Program initialization"; the
// order is that since Go 1.21), so that one that imports nothing but syscall
// comes before nearly all others: their variables and their code take no memory.
// That is why this package imports nothing else, and allocates nothing while it
// waits.
//
// While it waits it
//   - reads the console, keeps its log, and serves who is attached to it
//     (console.go, with the protocol);
//   - looks whether the upkeep has something to do (conditions.go) and has it
//     done by a child;
//   - sees when the process of a proxy device has ended (proxies.go), and has a child
//     start another one;
//   - passes SIGTERM, a host that shuts down, on to the instance, by a child.
//
// When the instance's init has ended it executes the supervisor proper again,
// which finds all that it has to know in the arguments (Config) and in the run
// directory.
package wait
