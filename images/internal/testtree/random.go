package testtree

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Random makes a tree of n files of all kinds below dir, the same one for the
// same seed: odd names, sizes around multiples of block, holes, equal files, hard
// links, links, fifos, sockets, harmless device nodes, owners, set-id bits, old
// and far times, extended attributes, file capabilities. It needs root.
func Random(tb testing.TB, dir string, seed uint64, n, block int) {
	tb.Helper()
	NeedRoot(tb)
	g := &generator{tb: tb, r: rand.New(rand.NewPCG(seed, 1)), block: block, dirs: []string{dir}}
	for i := range n {
		g.one(i)
	}
	for _, path := range append(g.made, g.dirs...) {
		g.metadata(path)
	}
	for i := len(g.dirs) - 1; i >= 0; i-- { // what was made below changed it
		g.time(g.dirs[i])
	}
}

type generator struct {
	tb    testing.TB
	r     *rand.Rand
	block int
	dirs  []string
	files []string
	made  []string // all but directories and further names
}

func (g *generator) must(err error) {
	g.tb.Helper()
	if err != nil {
		g.tb.Fatal(err)
	}
}

// name is an odd one often.
func (g *generator) name(i int) string {
	switch g.r.IntN(12) {
	case 0:
		return strings.Repeat("n", 250-len(fmt.Sprint(i))) + fmt.Sprint(i)
	case 1:
		return fmt.Sprintf("new\nline %d", i)
	case 2:
		return fmt.Sprintf("\xff\xfe\x01 %d", i)
	case 3:
		return fmt.Sprintf("...%d", i)
	case 4:
		return fmt.Sprintf("%d ü 漢字", i)
	case 5:
		return fmt.Sprintf(`%d\..\"'$*`, i)
	}
	return fmt.Sprintf("f%d", i)
}

func (g *generator) one(i int) {
	path := filepath.Join(g.dirs[g.r.IntN(len(g.dirs))], g.name(i))
	kind := g.r.IntN(16)
	switch {
	case kind < 3:
		g.must(os.Mkdir(path, 0o755))
		g.dirs = append(g.dirs, path)
		return
	case kind == 3 && len(g.files) > 0:
		g.must(os.Link(g.files[g.r.IntN(len(g.files))], path))
		return
	case kind == 4:
		g.must(os.Symlink([]string{"/etc/passwd", "../../..", "x", strings.Repeat("d/", 300)}[g.r.IntN(4)], path))
	case kind == 5:
		g.must(unix.Mkfifo(path, 0o600))
	case kind == 6:
		g.must(unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, []uint32{3, 5, 9}[g.r.IntN(3)]))))
	case kind == 7:
		g.must(unix.Mknod(path, unix.S_IFSOCK|0o600, 0))
	case kind == 8 && len(g.files) > 0:
		b, err := os.ReadFile(g.files[g.r.IntN(len(g.files))])
		g.must(err)
		g.must(os.WriteFile(path, b, 0o600))
		g.files = append(g.files, path)
	default:
		g.file(path)
		g.files = append(g.files, path)
	}
	g.made = append(g.made, path)
}

// file writes a file of compressible and random runs and holes.
func (g *generator) file(path string) {
	sizes := []int{0, 1, g.r.IntN(100), g.block - 1, g.block, g.block + 1, g.r.IntN(g.block), 3*g.block + g.r.IntN(g.block), 8 * g.block}
	size := sizes[g.r.IntN(len(sizes))]
	f, err := os.Create(path)
	g.must(err)
	g.must(f.Truncate(int64(size)))
	for off := 0; off < size; {
		n := min(1+g.r.IntN(2*g.block), size-off)
		run := make([]byte, n)
		switch g.r.IntN(3) {
		case 0:
			off += n // a hole
			continue
		case 1:
			copy(run, strings.Repeat(fmt.Sprintf("%d words and words ", g.r.Uint32()), n/16+1))
		case 2:
			for i := range run {
				run[i] = byte(g.r.Uint32())
			}
		}
		_, err := f.WriteAt(run, int64(off))
		g.must(err)
		off += n
	}
	g.must(f.Close())
}

func (g *generator) metadata(path string) {
	ids := []int{0, 1, 1000, 65534, 100000, 1<<32 - 2}
	g.must(os.Lchown(path, ids[g.r.IntN(len(ids))], ids[g.r.IntN(len(ids))]))
	st, err := os.Lstat(path)
	g.must(err)
	link := st.Mode()&os.ModeSymlink != 0
	if !link {
		g.must(unix.Chmod(path, []uint32{0o644, 0o755, 0, 0o4755, 0o2711, 0o1777, 0o6000, 0o600}[g.r.IntN(8)]))
	}
	if g.r.IntN(3) == 0 {
		g.xattrs(path, st.Mode())
	}
	g.time(path)
}

func (g *generator) xattrs(path string, mode os.FileMode) {
	set := func(name string, size int) {
		value := make([]byte, size)
		for i := range value {
			value[i] = byte(g.r.Uint32())
		}
		g.must(unix.Lsetxattr(path, name, value, 0))
	}
	set("trusted.t", 5)
	if !mode.IsRegular() && !mode.IsDir() {
		return
	}
	set("user.empty", 0)
	// Long and equal ones are stored once, apart.
	g.must(unix.Lsetxattr(path, "user.long", []byte(strings.Repeat("v", 600)), 0))
	set("user."+strings.Repeat("n", 100), 30)
	if mode.IsRegular() {
		capability := binary.LittleEndian.AppendUint32(nil, 0x02000001)
		capability = append(capability, make([]byte, 16)...)
		capability[5] = 4
		g.must(unix.Lsetxattr(path, "security.capability", capability, 0))
	}
}

func (g *generator) time(path string) {
	times := []int64{0, 1, 981173106, 1<<31 - 1, 1 << 31, 1<<32 - 1}
	ts := unix.NsecToTimespec(time.Unix(times[g.r.IntN(len(times))], 0).UnixNano())
	g.must(unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}
