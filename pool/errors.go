package pool

import (
	"errors"
	"fmt"
)

// Sentinels a caller branches on, with errors.Is.
var (
	// ErrNotFound: no pool, image, instance, snapshot, remote or network of that name.
	ErrNotFound = errors.New("not found")
	// ErrExists: the name is taken.
	ErrExists = errors.New("already exists")
	// ErrInUse: something still uses it.
	ErrInUse = errors.New("in use")
)

// hinted is an error with a line for the user on what to do about it.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// Hint is the line that package main prints below the error.
func (h *hinted) Hint() string { return h.hint }

// withHint adds a hint to err; nil stays nil.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err: err, hint: fmt.Sprintf(format, args...)}
}
