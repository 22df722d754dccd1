package tarball

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// Reasons for which a name is refused.
var (
	ErrAbsolute  = errors.New("the name is absolute")
	ErrDotDot    = errors.New(`the name contains ".."`)
	ErrEmptyName = errors.New("the name is empty")
	ErrNUL       = errors.New("the name contains a NUL byte")
)

// CleanName turns the name of an archive entry into its canonical relative form:
// components joined by single slashes, no "." among them, no slash at the end;
// "." is the top directory itself. Names that could mean something outside the
// top directory are refused, not rewritten: a tar program that strips the leading
// slash or ".." unpacks something else than what was packed.
func CleanName(name string, l Limits) (string, error) {
	l = l.WithDefaults()
	switch {
	case name == "":
		return "", ErrEmptyName
	case len(name) > l.PathLen:
		return "", &LimitError{What: "bytes in a name", Limit: int64(l.PathLen)}
	case strings.IndexByte(name, 0) >= 0:
		return "", ErrNUL
	case name[0] == '/':
		return "", ErrAbsolute
	}
	if isClean(name) {
		return name, checkComponents(name, l)
	}
	parts := make([]string, 0, 16)
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			return "", ErrDotDot
		default:
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return ".", nil
	}
	name = strings.Join(parts, "/")
	return name, checkComponents(name, l)
}

// isClean is the fast path: true only for names without anything to remove or refuse.
func isClean(name string) bool {
	if name[0] == '.' || name[len(name)-1] == '/' {
		return false
	}
	return !strings.Contains(name, "//") && !strings.Contains(name, "/.")
}

func checkComponents(name string, l Limits) error {
	depth := 0
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > unix.NAME_MAX {
			return &LimitError{What: "bytes in one component of a name", Limit: unix.NAME_MAX}
		}
		depth++
	}
	if depth > l.Depth {
		return &LimitError{What: "components in a name", Limit: int64(l.Depth)}
	}
	return nil
}

// split separates a clean name into its directory ("" for the top) and last component.
func split(name string) (dir, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}
