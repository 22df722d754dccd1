package loopdev

import (
	"errors"
	"fmt"
)

// ErrNotAttached says that a loop device has no backing file: it was never
// attached, or the kernel is detaching it.
var ErrNotAttached = errors.New("not attached to a file")

// AttachedError says that a file is attached to a loop device already.
type AttachedError struct {
	Path string // the file, as the caller named it
	Info Info   // the device that has it
}

// Error implements error.
func (e *AttachedError) Error() string {
	return fmt.Sprintf("%s is attached to %s already", e.Path, e.Info.Path)
}
