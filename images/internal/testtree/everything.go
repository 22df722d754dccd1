package testtree

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Everything is Random with all that some formats have and others have not: names
// with leading dashes and of 255 bytes, paths of almost 4096 bytes, times to the nanosecond
// and before 1970, POSIX ACLs, attributes with odd names and values, large files
// that are mostly holes, hard links to links, fifos and devices.
func Everything(tb testing.TB, dir string, seed uint64, n int) {
	tb.Helper()
	Random(tb, dir, seed, n, 32<<10)
	g := &generator{tb: tb, r: rand.New(rand.NewPCG(seed, 4)), block: 32 << 10}
	var links []string
	g.must(filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
		case d.IsDir():
			g.dirs = append(g.dirs, path)
		case d.Type().IsRegular():
			g.files = append(g.files, path)
		case d.Type()&(os.ModeSymlink|os.ModeNamedPipe|os.ModeDevice) != 0:
			links = append(links, path)
		}
		return err
	}))
	g.deep(dir)
	for i := range max(n/10, len(oddNames)) {
		g.odd(i)
	}
	for i, path := range links {
		if i%3 == 0 {
			g.must(os.Link(path, filepath.Join(g.dir(), fmt.Sprintf("link to a link %d", i))))
		}
	}
	for i := range 3 {
		g.holes(filepath.Join(g.dir(), fmt.Sprintf("holes%d", i)))
	}
	for _, path := range slices.Concat(g.dirs, g.files) {
		if g.r.IntN(4) == 0 {
			g.acls(path)
		}
		if g.r.IntN(6) == 0 {
			g.oddXattrs(path)
		}
	}
	for _, path := range slices.Concat(g.files, links) {
		g.exactTime(path)
	}
	slices.SortFunc(g.dirs, func(a, b string) int { return len(b) - len(a) })
	for _, path := range g.dirs { // the innermost first
		g.exactTime(path)
	}
}

func (g *generator) dir() string { return g.dirs[g.r.IntN(len(g.dirs))] }

// deep makes directories below each other until their path has 3700 bytes, with
// a file and a link in each.
func (g *generator) deep(dir string) {
	at := dir
	for i := 0; len(at)-len(dir) < 3700; i++ {
		at = filepath.Join(at, fmt.Sprintf("%d%s", i, strings.Repeat("d", 20+g.r.IntN(200))))
		g.must(os.Mkdir(at, 0o755))
		g.dirs = append(g.dirs, at)
		file := filepath.Join(at, "file")
		g.must(os.WriteFile(file, []byte(at), 0o600))
		g.files = append(g.files, file)
		g.must(os.Symlink(at, filepath.Join(at, "symbolic link")))
		g.must(os.Link(file, filepath.Join(dir, fmt.Sprintf("hard link to far away %d", i))))
	}
}

// oddNames have the number of the file in them.
var oddNames = []string{"-%d", "--help%d", "-rf *%d", " %d ", "\t%d\n", "%d\x7f\x1b[31m", "~%d", "#%d#", "C:\\%d", "%d=value", "%d\r", "\u202e%d", "%d.", ". %d", "%%00%d", "\x80\xbf%d", "%0255d", "\xff%0254d"}

// odd makes a file of an odd name.
func (g *generator) odd(i int) {
	path := filepath.Join(g.dir(), fmt.Sprintf(oddNames[i%len(oddNames)], i))
	g.must(os.WriteFile(path, []byte("odd"), 0o600))
	g.files = append(g.files, path)
}

// holes makes a file of some MiB, of which little is there.
func (g *generator) holes(path string) {
	f, err := os.Create(path)
	g.must(err)
	size := int64(8<<20) + g.r.Int64N(8<<20)
	g.must(f.Truncate(size))
	for range 1 + g.r.IntN(5) {
		_, err := f.WriteAt([]byte("an island"), g.r.Int64N(size-9))
		g.must(err)
	}
	g.must(f.Close())
	g.files = append(g.files, path)
}

// acls gives a file an access ACL, and a directory a default one as well.
func (g *generator) acls(path string) {
	st, err := os.Lstat(path)
	g.must(err)
	if st.IsDir() {
		g.must(unix.Lsetxattr(path, "system.posix_acl_default", g.acl(), 0))
	}
	g.must(unix.Lsetxattr(path, "system.posix_acl_access", g.acl(), 0))
}

// acl is the value of an ACL (linux/posix_acl_xattr.h) with one user and one group.
func (g *generator) acl() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag uint16
		id  uint32
	}{{1, 1<<32 - 1}, {2, 1 + g.r.Uint32N(1<<31)}, {4, 1<<32 - 1}, {8, 1 + g.r.Uint32N(1000)}, {16, 1<<32 - 1}, {32, 1<<32 - 1}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, uint16(g.r.UintN(8)))
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// oddXattrs gives a file attributes whose names and values formats have to quote.
func (g *generator) oddXattrs(path string) {
	for name, value := range map[string]string{
		"user.a=b": "=", "user.per%cent": "100%", "user.new\nline": "two\nlines\n", "user.nul": "\x00a\x00",
		"user.bytes\xff": "\xff\xfe", "trusted.overlay.opaque": "y", "security.other": "\x00\x01", "user.digits": "12 path=x\n",
	} {
		g.must(unix.Lsetxattr(path, name, []byte(value), 0))
	}
}

func (g *generator) exactTime(path string) {
	times := []time.Time{
		time.Unix(0, 1), time.Unix(1, 999999999), time.Unix(-1, 500000000), time.Unix(-1000000000, 0), time.Unix(1<<32+5, 7),
		time.Unix(g.r.Int64N(1<<31), g.r.Int64N(1e9)), time.Unix(g.r.Int64N(1<<31), 100*g.r.Int64N(1e7)),
	}
	t := times[g.r.IntN(len(times))]
	ts := unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
	g.must(unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}
