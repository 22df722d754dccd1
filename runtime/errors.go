package runtime

import "errors"

// ErrNotRunning says that there is no such running instance.
var ErrNotRunning = errors.New("the instance is not running")

// ErrTimeout says that the instance did not stop in time; it still runs.
var ErrTimeout = errors.New("the instance did not stop in time")

// hintError is an error with advice for the user.
type hintError struct {
	msg, hint string
}

func (e *hintError) Error() string { return e.msg }

// Hint tells the user what to do.
func (e *hintError) Hint() string { return e.hint }
