// How many processors its own cgroup allows is of no matter to a program that works
// for a moment; the Go runtime would read two tables of the kernel for it at each
// start.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"os"

	"poolctl/pool"
	"poolctl/runtime"
)

// version is set by the build: -ldflags "-X main.version=...".
var version = "unknown"

func main() {
	runtime.Main(pool.Hooks()) // in a process that was started from this program's own file for an instance, never returns
	os.Exit(mainExit())
}

// mainExit runs the command line and returns the exit code. The first SIGINT or
// SIGTERM cancels what runs, which then undoes what it did; the second one ends
// the process.
func mainExit() int {
	ctx := cancelledBySignals()
	collectLate()
	e := &env{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, version: version}
	return e.exitCode(e.main(ctx, os.Args))
}
