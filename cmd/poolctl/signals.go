package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// cancelledBySignals is a context that the first SIGINT or SIGTERM cancels; the second one ends the process.
func cancelledBySignals() context.Context {
	ignored := signal.Ignored(os.Interrupt) // as by a shell that starts it in the background
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, unix.SIGTERM)
	return cancelledBy(signals, func(second os.Signal) {
		_, _ = fmt.Fprintln(os.Stderr, "\nended at once: what is left is undone by the next command")
		endBy(second, ignored && second == os.Interrupt)
	})
}

// endBy ends the process by a signal, or where it is ignored without Notify, with the exit code that a shell has for it.
func endBy(s os.Signal, ignored bool) {
	number, ok := s.(unix.Signal)
	if ok && ignored {
		os.Exit(128 + int(number))
	}
	signal.Reset(s)
	if ok {
		_ = unix.Kill(os.Getpid(), number)
	}
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
