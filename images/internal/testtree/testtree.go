// Package testtree compares directory trees in tests, down to owners, times,
// extended attributes and hard links, and finds the shared fixtures. Only tests
// import it.
package testtree

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Shared is the folder of the shared fixtures, or fails the test: the variable
// POOLCTL_SHARED, else ../shared beside the module's root.
func Shared(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("POOLCTL_SHARED")
	if dir == "" {
		wd, err := os.Getwd()
		if err != nil {
			tb.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(wd, "go.mod")); err == nil {
				break
			}
			if wd == filepath.Dir(wd) {
				tb.Fatal("no go.mod above the test")
			}
			wd = filepath.Dir(wd)
		}
		dir = filepath.Join(filepath.Dir(wd), "shared")
	}
	dir = filepath.Join(dir, "fixtures")
	if _, err := os.Stat(dir); err != nil {
		tb.Fatalf("the shared fixtures are missing: %v", err)
	}
	return dir
}

// NeedRoot fails the test when it does not run as root.
func NeedRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Fatal("this test must run as root")
	}
}

// Node is everything about a file that an archive can hold.
type Node struct {
	Mode   uint32 // type and permissions
	UID    uint32
	GID    uint32
	Size   int64
	Mtime  string // of all but implied directories
	Rdev   uint64
	Link   string
	Xattrs map[string]string
	Same   string // first name of the same inode, for hard links
	SHA256 string
}

// Options of Read.
type Options struct {
	Skip    func(rel string) bool // leaves out a name and what is below
	NoMtime bool
}

// Read reads the tree below dir; "." is dir itself.
func Read(tb testing.TB, dir string, o Options) map[string]Node {
	tb.Helper()
	tree := map[string]Node{}
	inodes := map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if o.Skip != nil && o.Skip(rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		n, err := read(path, rel, inodes)
		if o.NoMtime {
			n.Mtime = ""
		}
		tree[rel] = n
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return tree
}

func read(path, rel string, inodes map[uint64]string) (Node, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Node{}, err
	}
	n := Node{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Rdev: st.Rdev, Xattrs: map[string]string{}}
	n.Mtime = fmt.Sprintf("%d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		if first, ok := inodes[st.Ino]; ok {
			n.Same = first
		} else {
			inodes[st.Ino] = rel
			n.Same = rel
		}
	}
	var err error
	switch kind {
	case unix.S_IFREG:
		n.Size = st.Size
		n.SHA256, err = sum(path)
	case unix.S_IFLNK:
		n.Link, err = os.Readlink(path)
	}
	if err != nil {
		return n, err
	}
	return n, readXattrs(path, n.Xattrs)
}

func readXattrs(path string, into map[string]string) error {
	buf := make([]byte, 64<<10)
	size, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(string(buf[:size]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return err
		}
		into[name] = string(value[:n])
	}
	return nil
}

func sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
