package restore

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const dirFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// DirStack holds open the directories from the top down to the one last used:
// archives list their entries directory by directory, so most entries find
// theirs open. Each step down is one openat with O_NOFOLLOW of one component, so
// that no symbolic link is ever followed and nothing above the top is reachable.
type DirStack struct {
	root  int // borrowed
	parts []string
	fds   []int
	// made, when not nil, is told of every directory that Open makes.
	made func(path string)
}

// NewDirStack makes a stack below the open directory root, which must stay open.
// made, when not nil, is told of every directory that Open makes.
func NewDirStack(root int, made func(path string)) *DirStack {
	return &DirStack{root: root, made: made}
}

// Open returns a descriptor (O_PATH, owned by the stack, valid until the next
// call) of the directory dir, a clean name or "" for the top. Missing
// directories are made when create is set.
func (s *DirStack) Open(dir string, create bool) (int, error) {
	if dir == "" {
		s.Cut(0)
		return s.root, nil
	}
	i := 0
	for part := range strings.SplitSeq(dir, "/") {
		if i < len(s.parts) && s.parts[i] == part {
			i++
			continue
		}
		s.Cut(i)
		fd, err := s.step(part, create)
		if err != nil {
			return -1, err
		}
		s.parts = append(s.parts, part)
		s.fds = append(s.fds, fd)
		i++
	}
	s.Cut(i)
	return s.fds[i-1], nil
}

// step opens part in the innermost directory.
func (s *DirStack) step(part string, create bool) (int, error) {
	parent := s.root
	if n := len(s.fds); n > 0 {
		parent = s.fds[n-1]
	}
	fd, err := unix.Openat(parent, part, dirFlags, 0)
	if errors.Is(err, unix.ENOENT) && create {
		if err = unix.Mkdirat(parent, part, 0o755); err == nil {
			if s.made != nil {
				s.made(strings.Join(append(s.parts[:len(s.parts):len(s.parts)], part), "/"))
			}
			fd, err = unix.Openat(parent, part, dirFlags, 0)
		}
	}
	if err == nil {
		return fd, nil
	}
	path := strings.Join(append(s.parts[:len(s.parts):len(s.parts)], part), "/")
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		var st unix.Stat_t
		if serr := unix.Fstatat(parent, part, &st, unix.AT_SYMLINK_NOFOLLOW); serr == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return -1, fmt.Errorf("its directory %q is a symbolic link", path)
		}
	}
	return -1, fmt.Errorf("cannot open its directory: %w", &os.PathError{Op: "openat", Path: path, Err: err})
}

// Cut closes the directories below the first n.
func (s *DirStack) Cut(n int) {
	for len(s.fds) > n {
		last := len(s.fds) - 1
		_ = unix.Close(s.fds[last]) // an O_PATH descriptor has nothing to lose
		s.fds, s.parts = s.fds[:last], s.parts[:last]
	}
}
