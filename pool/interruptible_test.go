package pool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// A pipe that nobody reads or writes at the other end does not keep what was cancelled.
func TestInterruptible(t *testing.T) {
	r, w, err := os.Pipe()
	ok(t, err)
	defer func() { ok(t, r.Close(), w.Close()) }()
	data := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	from, to := interruptibleReader(ctx, r), interruptibleWriter(ctx, w)
	wrote := make(chan error, 1)
	go func() { _, err := to.Write(data); wrote <- err }()
	got := make([]byte, len(data))
	_, err = io.ReadFull(from, got)
	ok(t, err, <-wrote)
	if !bytes.Equal(got, data) {
		t.Error("what went through the pipe is not what was written")
	}
	read := make(chan error, 1)
	go func() { _, err := from.Read(got); read <- err }()
	time.AfterFunc(20*time.Millisecond, cancel)
	select {
	case err := <-read:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a read that waits ends with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("a read that waits does not end")
	}
}

func TestInterruptibleWrite(t *testing.T) {
	r, w, err := os.Pipe()
	ok(t, err)
	defer func() { ok(t, r.Close(), w.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	to := interruptibleWriter(ctx, w)
	time.AfterFunc(20*time.Millisecond, cancel)
	began := time.Now()
	for range 2 { // the second one must not touch what the first one still has
		if _, err := to.Write(make([]byte, 1<<20)); !errors.Is(err, context.Canceled) {
			t.Errorf("a write that waits ends with %v", err)
		}
	}
	if time.Since(began) > 5*time.Second {
		t.Error("a write that waits does not end")
	}
	if f, err := os.CreateTemp(t.TempDir(), ""); err != nil || interruptibleWriter(ctx, f) != io.Writer(f) || interruptibleReader(ctx, f) != io.Reader(f) {
		t.Errorf("a regular file is written to as it is: %v", err)
	} else {
		ok(t, f.Close())
	}
}
