package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"poolctl/cmd/poolctl/internal/args"
	"poolctl/cmd/poolctl/internal/table"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// exitStatusError is the code of a command that ran inside an instance, passed on
// without a message; cause, if any, is why it could not run.
type exitStatusError struct {
	code  int
	cause error
}

func (e *exitStatusError) Error() string {
	if e.cause != nil {
		return e.cause.Error()
	}
	return "exit code " + strconv.Itoa(e.code)
}

func (e *exitStatusError) Unwrap() error { return e.cause }

// severalError is what went wrong with several objects of one command: a line
// for each.
type severalError []error

func (s severalError) Error() string { return errors.Join(s...).Error() }

func (s severalError) Unwrap() []error { return s }

// exitCode prints what went wrong and returns the exit code for it.
func (e *env) exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	var status *exitStatusError
	if errors.As(err, &status) {
		if status.cause != nil {
			e.report(status.cause)
		}
		return status.code
	}
	var several severalError
	if errors.As(err, &several) {
		for _, one := range several {
			e.report(one)
		}
		return exitFailed
	}
	e.report(err)
	var usage *args.UsageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// report prints one error and, if it has one, its hint.
func (e *env) report(err error) {
	text := err.Error()
	if errors.Is(err, context.Canceled) { // only a signal cancels, see mainExit
		text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
	}
	_, _ = fmt.Fprintf(e.stderr, "error: %s\n", table.Clean(text))
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		_, _ = fmt.Fprintf(e.stderr, "hint: %s\n", table.Clean(hinted.Hint()))
	}
	if e.debug {
		e.debugChain(err, "")
	}
}

// debugChain prints the types that an error is made of, the outermost first.
func (e *env) debugChain(err error, indent string) {
	e.debugf("%s%T: %s", indent, err, table.Clean(err.Error()))
	switch u := err.(type) { //nolint:errorlint // every layer is looked at, one by one
	case interface{ Unwrap() error }:
		if inner := u.Unwrap(); inner != nil {
			e.debugChain(inner, indent+"  ")
		}
	case interface{ Unwrap() []error }:
		for _, inner := range u.Unwrap() {
			e.debugChain(inner, indent+"  ")
		}
	}
}
