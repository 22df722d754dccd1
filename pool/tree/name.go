package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// ErrInvalidName is what the errors of the Validate functions wrap.
var ErrInvalidName = errors.New("invalid name")

// nameMax is the longest file name, in bytes (NAME_MAX, limits.h).
const nameMax = 255

var (
	instanceName    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9-]+$`) })
	fingerprintForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-f]{64}$`) })
)

// ValidateInstanceName checks the name of a new instance by Incus's rules, which are those of a host name: 1 to 63 ASCII
// letters, digits and "-", not starting with a digit or "-", not ending with "-". The error is ErrInvalidName and says
// what is wrong.
func ValidateInstanceName(name string) error {
	var reason string
	switch {
	case name == "":
		reason = "it is empty"
	case len(name) > 63:
		reason = "it is longer than 63 characters"
	case name[0] == '-':
		reason = `it must not start with "-"`
	case strings.HasSuffix(name, "-"):
		reason = `it must not end with "-"`
	case !instanceName().MatchString(name):
		reason = `only letters, digits and "-" are allowed`
	case name[0] >= '0' && name[0] <= '9':
		reason = "it must not start with a digit"
	default:
		return nil
	}
	return fmt.Errorf("%w %q: %s", ErrInvalidName, name, reason)
}

// ValidateSnapshotName checks the name of a new snapshot: Incus's rules (no "/", "\", "*" or white space, not "." or
// ".."), and printable, since it is a directory's name. The error is ErrInvalidName and says what is wrong.
func ValidateSnapshotName(name string) error {
	if err := checkPrintable(name, `/\*`); err != nil {
		return err
	}
	if name == "." || name == ".." {
		return fmt.Errorf("%w %q: it is reserved", ErrInvalidName, name)
	}
	if strings.HasPrefix(name, "-") {
		return fmt.Errorf(`%w %q: it must not start with "-"`, ErrInvalidName, name)
	}
	return nil
}

// ValidateAlias checks an alias of an image: printable, without white space, and without ":", which ends a remote's name.
// The error is ErrInvalidName and says what is wrong.
func ValidateAlias(name string) error {
	if err := checkPrintable(name, ":,"); err != nil {
		return err
	}
	if strings.HasPrefix(name, "-") || strings.HasPrefix(name, "/") {
		return fmt.Errorf("%w %q: it must not start with %q", ErrInvalidName, name, name[:1])
	}
	return nil
}

// ValidateFingerprint checks that a fingerprint is 64 lower-case hexadecimal digits (a SHA-256). The error is
// ErrInvalidName.
func ValidateFingerprint(fingerprint string) error {
	if !fingerprintForm().MatchString(fingerprint) {
		return fmt.Errorf("%w %q: a fingerprint has 64 hexadecimal digits", ErrInvalidName, fingerprint)
	}
	return nil
}

// checkPrintable refuses an empty name, one that is too long for a directory entry, white space, what cannot be printed,
// and the characters in not.
func checkPrintable(name, not string) error {
	if name == "" {
		return fmt.Errorf("%w %q: it is empty", ErrInvalidName, name)
	}
	if len(name) > nameMax {
		return fmt.Errorf("%w %q: it is longer than %d bytes", ErrInvalidName, name, nameMax)
	}
	if !utf8.ValidString(name) {
		return fmt.Errorf("%w %q: it is not UTF-8", ErrInvalidName, name)
	}
	for _, c := range name {
		if unicode.IsSpace(c) || !unicode.IsPrint(c) || strings.ContainsRune(not, c) {
			return fmt.Errorf("%w %q: it must not contain %q", ErrInvalidName, name, string(c))
		}
	}
	return nil
}

// checkComponent keeps a name that is looked up, and may be one that LXD made (PROJECT_NAME), to one component of a path.
// What cannot be one does not exist.
func checkComponent(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > nameMax || strings.ContainsAny(name, "/\x00") {
		return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return nil
}
