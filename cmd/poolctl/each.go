package main

import (
	"context"
	"sync"
)

// atOnce is how many instances one command starts, stops or deletes at a time.
const atOnce = 4

// each calls f for every name, one after the other, goes on after failures, and
// returns the errors in the order of the names. A name given twice is used once.
func each(ctx context.Context, names []string, f func(ctx context.Context, name string) error) error {
	return several(ctx, 1, names, f)
}

// eachAtOnce is each, with several names at a time: for what waits long and
// where no two names can mean the same object.
func eachAtOnce(ctx context.Context, names []string, f func(ctx context.Context, name string) error) error {
	return several(ctx, atOnce, names, f)
}

func several(ctx context.Context, limit int, names []string, f func(ctx context.Context, name string) error) error {
	seen, unique := map[string]bool{}, names[:0:0]
	for _, n := range names {
		if !seen[n] {
			unique = append(unique, n)
		}
		seen[n] = true
	}
	errs := make([]error, len(unique))
	slots := make(chan struct{}, limit)
	var wg sync.WaitGroup
	for i, n := range unique {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				errs[i] = f(ctx, n)
			}
		})
	}
	wg.Wait()
	var failed severalError
	for _, err := range errs {
		if err != nil {
			failed = append(failed, err)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return failed
}

// eachOf takes a joined error apart, so that each of it is reported by itself.
func eachOf(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return severalError(joined.Unwrap())
	}
	return err
}
