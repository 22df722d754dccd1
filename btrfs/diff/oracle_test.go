package diff

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// file is what a walk finds at a path.
type file struct {
	mode, uid, gid uint32
	rdev           uint64
	content        string
	xattrs         string
	flags          uint32
}

// walk reads a whole tree: the oracle.
func walk(t testing.TB, root string) map[string]file {
	t.Helper()
	out := map[string]file{}
	must(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		f := file{mode: st.Mode, uid: st.Uid, gid: st.Gid}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			f.content = fmt.Sprintf("%d %x", len(data), sha256.Sum256(data))
			f.flags = flagsOf(t, p)
		case unix.S_IFLNK:
			if f.content, err = os.Readlink(p); err != nil {
				return err
			}
		case unix.S_IFCHR, unix.S_IFBLK:
			f.rdev = st.Rdev
		}
		names := make([]byte, 4096)
		n, err := unix.Llistxattr(p, names)
		if err != nil {
			return err
		}
		for _, name := range strings.Split(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
			if name != "" {
				value := make([]byte, 4096)
				n, err := unix.Lgetxattr(p, name, value)
				if err != nil {
					return err
				}
				f.xattrs += fmt.Sprintf("%q=%q;", name, value[:n])
			}
		}
		out[path.Clean("/"+strings.TrimPrefix(p, root))] = f
		return nil
	}))
	return out
}

func flagsOf(t testing.TB, p string) uint32 {
	t.Helper()
	f, err := os.Open(p)
	must(t, err)
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	must(t, err)
	return flags & 0x40 // FS_NODUMP_FL
}

// check applies the changes to what is in the first tree: that has to give what is in
// the second one, and each change has to say what differs, no more and no less.
func check(t testing.TB, from, to string, changes []Change) {
	t.Helper()
	if problem := verify(walk(t, from), walk(t, to), changes); problem != "" {
		var list []string
		for _, c := range changes {
			list = append(list, fmt.Sprintf("%s %q %q %v", c.Kind, c.From, c.Path, c.What))
		}
		t.Fatalf("%s\nof:\n%s", problem, strings.Join(list, "\n"))
	}
}

func verify(before, after map[string]file, changes []Change) string {
	removed, added, renamed, what := map[string]bool{}, map[string]bool{}, map[string]string{}, map[string][]Aspect{}
	for _, c := range changes {
		switch c.Kind {
		case Removed:
			if _, there := before[c.Path]; !there || removed[c.Path] {
				return fmt.Sprintf("%q was not there, but is removed", c.Path)
			}
			removed[c.Path] = true
		case Added:
			if _, there := after[c.Path]; !there || added[c.Path] {
				return fmt.Sprintf("%q is not there, but is added", c.Path)
			}
			added[c.Path] = true
		case Renamed:
			if _, twice := renamed[c.From]; twice {
				return fmt.Sprintf("%q is renamed twice", c.From)
			}
			renamed[c.From] = c.Path
			what[c.Path] = c.What
		default:
			if len(c.What) == 0 {
				return fmt.Sprintf("%q has changed in nothing", c.Path)
			}
			if _, twice := what[c.Path]; twice {
				return fmt.Sprintf("%q is listed twice", c.Path)
			}
			what[c.Path] = c.What
		}
	}
	var place func(p string) string // where a path of the first tree is in the second; "" when it is gone
	place = func(p string) string {
		switch {
		case removed[p]:
			return ""
		case renamed[p] != "":
			return renamed[p]
		case p == "/":
			return p
		}
		dir := place(path.Dir(p))
		if dir == "" {
			return "?" // a child of what is gone that is not
		}
		return path.Join(dir, path.Base(p))
	}
	got := map[string]file{}
	for p, f := range before {
		at := place(p)
		if at == "" {
			continue
		}
		if _, twice := got[at]; twice || at == "?" {
			return fmt.Sprintf("%q has no place: %q", p, at)
		}
		got[at] = f
	}
	for p := range added {
		if _, twice := got[p]; twice {
			return fmt.Sprintf("%q is added, but was there", p)
		}
		got[p] = after[p]
	}
	for p, f := range after {
		old, there := got[p]
		if !there {
			return fmt.Sprintf("%q is missing", p)
		}
		delete(got, p)
		if want := aspects(old, f); !slices.Equal(want, what[p]) {
			return fmt.Sprintf("%q: what differs is %v, not %v (%+v, %+v)", p, want, what[p], old, f)
		}
		delete(what, p)
	}
	for p := range got {
		return fmt.Sprintf("%q should be gone", p)
	}
	for p := range what {
		return fmt.Sprintf("%q is listed, but not there", p)
	}
	return ""
}

func aspects(a, b file) []Aspect {
	if a.mode&unix.S_IFMT != b.mode&unix.S_IFMT {
		return []Aspect{Type}
	}
	var out []Aspect
	if a.content != b.content {
		out = append(out, Content)
	}
	if a.rdev != b.rdev {
		out = append(out, Device)
	}
	if a.mode != b.mode {
		out = append(out, Mode)
	}
	if a.uid != b.uid || a.gid != b.gid {
		out = append(out, Owner)
	}
	if a.xattrs != b.xattrs {
		out = append(out, Xattrs)
	}
	if a.flags != b.flags {
		out = append(out, Flags)
	}
	return out
}
