package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"poolctl/pool"
	"poolctl/runtime"
)

// version is set by the build: -ldflags "-X main.version=...".
var version = "unknown"

func main() {
	runtime.Main(pool.Upkeep()) // in a process that was started from this program's own file for an instance, never returns
	os.Exit(mainExit())
}

// mainExit runs the command line and returns the exit code. The first SIGINT or
// SIGTERM cancels what runs, which then undoes what it did; the second one ends
// the process.
func mainExit() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	e := &env{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, version: version}
	return e.exitCode(e.main(ctx, os.Args))
}
