package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type hintedError struct{ error }

func (hintedError) Hint() string { return "do\x1b this" }

func TestExitCode(t *testing.T) {
	plain, hinted := errors.New("cannot do a: b\x1b[2J"), fmt.Errorf("cannot do it: %w", hintedError{errors.New("cause")})
	for _, c := range []struct {
		err  error
		code int
		want string
	}{
		{nil, 0, ""},
		{plain, 1, "error: cannot do a: b\ufffd[2J\n"},
		{hinted, 1, "error: cannot do it: cause\nhint: do\ufffd this\n"},
		{severalError{plain, hinted}, 1, "error: cannot do a: b\ufffd[2J\nerror: cannot do it: cause\nhint: do\ufffd this\n"},
		{badUsage("list", "no %s", "way"), 2, "error: no way\nhint: see poolctl list --help\n"},
		{fmt.Errorf("cannot do it: %w", badUsage("list", "no way")), 2, "error: cannot do it: no way\nhint: see poolctl list --help\n"},
		{&exitStatusError{code: 7}, 7, ""},
		{&exitStatusError{code: 127, cause: hinted}, 127, "error: cannot do it: cause\nhint: do\ufffd this\n"},
		{errors.Join(&exitStatusError{code: 3}, nil), 3, ""},
		{context.Canceled, 1, "error: interrupted\n"},
		{fmt.Errorf("cannot unpack x: %w", context.Canceled), 1, "error: cannot unpack x: interrupted\n"},
	} {
		e, stdout, stderr := testEnv(t)
		if got := e.exitCode(c.err); got != c.code || stderr() != c.want || stdout() != "" {
			t.Errorf("%v: exit %d, stderr %q, stdout %q; want %d, %q", c.err, got, stderr(), stdout(), c.code, c.want)
		}
	}
}

func TestDebugChain(t *testing.T) {
	e, _, stderr := testEnv(t)
	e.debug = true
	e.exitCode(fmt.Errorf("cannot: %w", errors.Join(errors.New("a"), errors.New("b"))))
	for _, want := range []string{"error: cannot: a\nb\n", "debug: *fmt.wrapError: ", "debug:   *errors.joinError: ", "debug:     *errors.errorString: b\n"} {
		if !strings.Contains(stderr(), want) {
			t.Errorf("no %q in %s", want, stderr())
		}
	}
}

func TestEach(t *testing.T) {
	for limit, run := range map[int32]func(context.Context, []string, func(context.Context, string) error) error{1: each, atOnce: eachAtOnce} {
		testEach(t, limit, run)
	}
}

func testEach(t *testing.T, limit int32, each func(context.Context, []string, func(context.Context, string) error) error) {
	t.Helper()
	var mu sync.Mutex
	var done []string
	var now, most atomic.Int32
	names := []string{"a", "bad1", "b", "a", "bad2", "c", "d", "e", "f"}
	err := each(t.Context(), names, func(_ context.Context, name string) error {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		time.Sleep(5 * time.Millisecond)
		mu.Lock()
		done = append(done, name)
		mu.Unlock()
		if strings.HasPrefix(name, "bad") {
			return errors.New(name)
		}
		return nil
	})
	slices.Sort(done)
	if diff := cmp.Diff([]string{"a", "b", "bad1", "bad2", "c", "d", "e", "f"}, done); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
	if err == nil || err.Error() != "bad1\nbad2" {
		t.Errorf("%v", err)
	}
	if m := most.Load(); m > limit || limit > 1 && m < 2 {
		t.Errorf("%d at once", m)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := each(ctx, []string{"a"}, func(context.Context, string) error { t.Error("called after cancel"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := each(t.Context(), []string{"a"}, func(context.Context, string) error { return nil }); err != nil {
		t.Errorf("%v", err)
	}
}
