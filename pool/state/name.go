package state

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalidName is what ValidateName's errors wrap.
var ErrInvalidName = errors.New("invalid name")

// maxName is the longest name of a pool, network, profile or remote, in bytes.
const maxName = 63

// ValidateName checks the name of a pool, network, profile or remote (kind is the word for it in the error): 1 to 63
// ASCII letters, digits and "-", "_", ".", the first of them a letter, a digit or "_". That keeps every name a plain file
// name and an option-safe argument; network interfaces have narrower rules of their own (package network).
func ValidateName(kind, name string) error {
	err := checkName(name)
	if err != nil {
		return &nameError{kind, name, err}
	}
	return nil
}

// nameError is a name that was refused, and why.
type nameError struct {
	kind, name string
	reason     error
}

func (e *nameError) Error() string {
	return fmt.Sprintf("invalid %s name %q: %s", e.kind, e.name, e.reason)
}
func (e *nameError) Is(target error) bool { return target == ErrInvalidName }
func (e *nameError) Unwrap() error        { return e.reason }

func checkName(name string) error {
	if name == "" {
		return errors.New("it is empty")
	}
	if len(name) > maxName {
		return fmt.Errorf("it is longer than %d characters", maxName)
	}
	if strings.ContainsAny(name[:1], "-.") {
		return fmt.Errorf("it must not start with %q", name[:1])
	}
	for _, c := range name {
		if !isNameChar(c) {
			return fmt.Errorf("it must not contain %q (letters, digits, \"-\", \"_\" and \".\" only)", string(c))
		}
	}
	return nil
}

func isNameChar(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}
