// How many processors its own cgroup allows is of no matter to a program that works
// for a moment; the Go runtime would read two tables of the kernel for it at each
// start.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

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
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, unix.SIGTERM)
	ctx := cancelledBy(signals, func(second os.Signal) {
		_, _ = fmt.Fprintln(os.Stderr, "\nended at once: what is left is undone by the next command")
		signal.Reset(second)
		if number, ok := second.(unix.Signal); ok {
			_ = unix.Kill(os.Getpid(), number) // by which this process ends
		}
	})
	collectLate()
	e := &env{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, version: version}
	return e.exitCode(e.main(ctx, os.Args))
}

// sameSignal is for how long after the first signal others are not told from it.
const sameSignal = 200 * time.Millisecond

// cancelledBy is a context that the first signal cancels, with no other cause than
// context.Canceled, which is what report looks for; end is called with the second. What
// comes within a moment is the same one: timeout(1) sends it to the process and its group.
func cancelledBy(signals <-chan os.Signal, end func(second os.Signal)) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-signals
		first := time.Now()
		cancel()
		for s := range signals {
			if time.Since(first) > sameSignal {
				end(s)
				return
			}
		}
	}()
	return ctx
}
