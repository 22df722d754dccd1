package squashfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"poolctl/images/internal/testtree"
)

// raw is a squashfs whose tables are not compressed, to be changed by a test.
type raw struct {
	t testing.TB
	b []byte
	s Super
}

const rawTree = `
mkdir aaaa aaaa/bbbb; echo content > aaaa/bbbb/file; ln aaaa/bbbb/file aaaa/hard; ln aaaa/hard aaaa/hard2; truncate -s 2M hole; ln -s target link; mkfifo pipe
head -c 9000 /dev/urandom > two1; head -c 9000 /dev/urandom > two2; echo x > withattr; echo tiny > tiny; find . -depth -exec touch -hd @0 {} +`

func makeRaw(t testing.TB) *raw {
	t.Helper()
	tree := shell(t, rawTree)
	for _, file := range []string{"withattr", "two1"} { // a long value is stored once
		for name, value := range map[string]string{"user.name": file, "user.long": strings.Repeat("v", 700)} {
			if err := unix.Setxattr(filepath.Join(tree, file), name, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	b, err := os.ReadFile(pack(t, tree, "-comp", "gzip", "-noI", "-noX", "-noD", "-noF", "-b", "4096"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSuper(b)
	if err != nil {
		t.Fatal(err)
	}
	return &raw{t, b, s}
}

// entry is the place of the name of a directory's entry in the file.
func (r *raw) entry(name string) int {
	dirs := r.b[r.s.DirectoryTable:]
	i := bytes.Index(dirs, append([]byte{byte(len(name) - 1), 0}, name...))
	if i < 0 {
		r.t.Fatalf("no entry %s", name)
	}
	return int(r.s.DirectoryTable) + i + 2
}

// inode is the place of an entry's inode in the file; the table has one block.
func (r *raw) inode(name string) int {
	return int(r.s.InodeTable) + 2 + int(binary.LittleEndian.Uint16(r.b[r.entry(name)-8:]))
}

func (r *raw) rename(from, to string) { copy(r.b[r.entry(from):], to) }

func (r *raw) put(at int, v ...uint16) {
	for i, x := range v {
		binary.LittleEndian.PutUint16(r.b[at+2*i:], x)
	}
}

// extendedFile makes sure that a file has the extended inode, with attributes.
func (r *raw) extendedFile(name string) int {
	at := r.inode(name)
	if binary.LittleEndian.Uint16(r.b[at:]) != kindFile+extended {
		r.t.Fatalf("%s has no extended inode", name)
	}
	return at
}

// hostile are changes to a raw squashfs and what has to be said of them.
var hostile = map[string]struct {
	change func(*raw)
	want   string
}{
	"dot dot":               {func(r *raw) { r.rename("link", "..k\x00") }, "NUL"},
	"slash":                 {func(r *raw) { r.rename("link", "../x") }, "slash"},
	"absolute":              {func(r *raw) { r.rename("aaaa", "/etc") }, "slash"},
	"NUL":                   {func(r *raw) { r.rename("link", "li\x00k") }, "NUL"},
	"twice":                 {func(r *raw) { r.rename("two2", "two1") }, "name twice"},
	"link and directory":    {func(r *raw) { r.rename("link", "aaaa") }, "name twice"},
	"out of order":          {func(r *raw) { r.rename("aaaa", "zzzz") }, "out of order"},
	"dot":                   {func(r *raw) { r.shorten("aaaa", ".") }, `"."`},
	"two dots":              {func(r *raw) { r.shorten("aaaa", "..") }, `".."`},
	"loop":                  {func(r *raw) { r.put(r.entry("bbbb")-8, uint16(r.s.RootInode)) }, "contains itself"},
	"two names":             {func(r *raw) { r.put(r.entry("pipe")-8, binary.LittleEndian.Uint16(r.b[r.entry("aaaa")-8:])) }, "two names"},
	"inode outside":         {func(r *raw) { r.put(r.entry("link")-8, 8000) }, "leads nowhere"},
	"inode beyond block":    {func(r *raw) { r.put(r.entry("link")-8, 65535) }, "leads nowhere"},
	"inode type 0":          {func(r *raw) { r.put(r.inode("link"), 0) }, "type 0"},
	"inode type 15":         {func(r *raw) { r.put(r.inode("link"), 15) }, "type 15"},
	"owner":                 {func(r *raw) { r.put(r.inode("link")+4, 7) }, "owner"},
	"group":                 {func(r *raw) { r.put(r.inode("link")+6, 65535) }, "owner"},
	"number 0":              {func(r *raw) { r.put(r.inode("link")+12, 0, 0) }, "its number 0"},
	"number too large":      {func(r *raw) { r.put(r.inode("link")+12, 1000) }, "its number 1000"},
	"number of another":     {func(r *raw) { copy(r.b[r.inode("link")+12:], r.b[r.inode("aaaa")+12:][:4]) }, "of another one"},
	"root is no directory":  {func(r *raw) { r.put(int(r.s.InodeTable)+2+int(r.s.RootInode&0xffff), kindFifo) }, "not a directory"},
	"empty target":          {func(r *raw) { r.put(r.inode("link")+20, 0, 0) }, "target has 0 bytes"},
	"long target":           {func(r *raw) { r.put(r.inode("link")+20, 5000) }, "target has 5000 bytes"},
	"NUL in target":         {func(r *raw) { r.b[r.inode("link")+25] = 0 }, "NUL"},
	"list outside":          {func(r *raw) { r.put(r.inode("aaaa")+24, 60000) }, "cut short"},
	"list elsewhere":        {func(r *raw) { r.put(r.inode("aaaa")+16, 1) }, "leads nowhere"},
	"list cut":              {func(r *raw) { r.put(r.inode("aaaa")+24, 20) }, "cut short"},
	"size 4 EiB":            {func(r *raw) { r.put(r.extendedFile("two1")+24, 0, 0, 0, 0x4001) }, "its size"},
	"blocks without end":    {func(r *raw) { r.put(r.extendedFile("two1")+24, 0, 0xffff) }, "cut short"},
	"more than all bytes":   {func(r *raw) { r.put(r.inode("two2")+28, 0, 0xffff) }, "cut short"},
	"block too long":        {func(r *raw) { r.put(r.inode("two2")+32, 4097, 0x100) }, "a length of"},
	"block with odd bits":   {func(r *raw) { r.put(r.inode("two2")+32, 4096, 0x300) }, "a length of"},
	"block in the tables":   {func(r *raw) { r.put(r.inode("two2")+16, uint16(r.s.InodeTable-10), 0) }, "outside of the data"},
	"block in superblock":   {func(r *raw) { r.put(r.inode("two2")+16, 5, 0) }, "outside of the data"},
	"blocks overlap":        {func(r *raw) { r.add(r.inode("two2")+16, -1) }, "overlap"},
	"fragment":              {func(r *raw) { r.put(r.inode("tiny")+20, 500, 0) }, "fragment 500 does not exist"},
	"outside of fragment":   {func(r *raw) { r.put(r.inode("tiny")+24, 4095, 0) }, "outside of its fragment"},
	"short fragment":        {func(r *raw) { r.put(r.inode("tiny")+24, 4091, 0) }, "too short"},
	"attributes":            {func(r *raw) { r.put(r.extendedFile("two1")+52, 99, 0) }, "attributes 99 does not exist"},
	"attribute kind":        {func(r *raw) { r.put(r.xattr(), 9) }, "unknown kind 9"},
	"attribute without end": {func(r *raw) { r.put(r.xattr()+2, 60000) }, "cut short"},
	"attribute elsewhere":   {func(r *raw) { r.put(r.outOfLine()+4, 0xffff, 0xffff) }, "leads nowhere"},
	"many attributes":       {func(r *raw) { r.put(r.u64(int(r.s.XattrTable)+16)+2+8, 60000) }, "extended attributes of one file"},
	"attributes elsewhere":  {func(r *raw) { r.put(int(r.s.XattrTable), 0, 0, 0, 0) }, "table"},
	"owners elsewhere":      {func(r *raw) { r.put(int(r.s.IDTable), 0, 0, 0, 0) }, "outside of the tables"},
	"fragments elsewhere":   {func(r *raw) { r.put(int(r.s.FragmentTable), 0xffff, 0xffff, 0xffff, 0xffff) }, "outside of the tables"},
	"exports elsewhere":     {func(r *raw) { r.put(int(r.s.ExportTable), 0, 0, 0, 0) }, "before it begins"},
	"block of no length":    {func(r *raw) { r.put(int(r.s.InodeTable), 0x8000) }, "length of 0"},
	"block of 9000 bytes":   {func(r *raw) { r.put(int(r.s.InodeTable), 0x8000|9000) }, "length of 9000"},
	"table too long":        {func(r *raw) { r.add(int(r.s.InodeTable), 1) }, "does not end where"},
	"compressed tables":     {func(r *raw) { r.b[r.s.InodeTable+1] &^= 0x80 }, "cannot decompress gzip"},
	"owner -1":              {func(r *raw) { r.put(r.u64(int(r.s.IDTable))+2, 0xffff, 0xffff) }, "-1"},
}

func (r *raw) u64(at int) int { return int(binary.LittleEndian.Uint64(r.b[at:])) }

func (r *raw) add(at, n int) {
	binary.LittleEndian.PutUint16(r.b[at:], uint16(int(binary.LittleEndian.Uint16(r.b[at:]))+n))
}

// xattr is the place of the first attribute.
func (r *raw) xattr() int {
	set := r.u64(int(r.s.XattrTable)+16) + 2
	return r.u64(int(r.s.XattrTable)) + 2 + r.u64(set)
}

// outOfLine is the place of the reference to a value that is stored once.
func (r *raw) outOfLine() int {
	for at := r.xattr(); ; {
		kind, name := binary.LittleEndian.Uint16(r.b[at:]), int(binary.LittleEndian.Uint16(r.b[at+2:]))
		if kind&outOfLine != 0 {
			return at + 4 + name + 4
		}
		at += 4 + name + 4 + int(binary.LittleEndian.Uint32(r.b[at+4+name:]))
	}
}

// shorten gives an entry a shorter name; the list is damaged behind it.
func (r *raw) shorten(from, to string) {
	at := r.entry(from)
	r.put(at-2, uint16(len(to)-1))
	copy(r.b[at:], to)
}

// TestHostile: each is refused for what it is, and nothing outside of the
// directory changes.
func TestHostile(t *testing.T) {
	testtree.NeedRoot(t)
	good := makeRaw(t)
	for name, tc := range hostile {
		t.Run(name, func(t *testing.T) {
			r := &raw{t, bytes.Clone(good.b), good.s}
			tc.change(r)
			if bytes.Equal(r.b, good.b) {
				t.Fatal("nothing is changed")
			}
			err := unpackBeside(t, r.b, Limits{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want ...%s...", err, tc.want)
			}
		})
	}
	if err := unpackBeside(t, good.b, Limits{}); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

// unpackBeside unpacks b and looks whether something outside changed.
func unpackBeside(t testing.TB, b []byte, l Limits) error {
	t.Helper()
	outer := t.TempDir()
	if err := os.WriteFile(filepath.Join(outer, "victim"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := openDir(t, filepath.Join(outer, "a/root"))
	skip := testtree.Options{Skip: func(rel string) bool { return rel == "a/root" }}
	before := testtree.Read(t, outer, skip)
	r := bytes.NewReader(b)
	_, err := (&Unpacker{TempDir: t.TempDir(), Limits: l}).Unpack(context.Background(), r, r, dir)
	if diff := cmp.Diff(before, testtree.Read(t, outer, skip)); diff != "" {
		t.Errorf("something outside changed:\n%s", diff)
	}
	return err
}

// TestLimits: each limit stops what is larger, before anything is written.
func TestLimits(t *testing.T) {
	testtree.NeedRoot(t)
	good := makeRaw(t)
	huge, long := bytes.Clone(good.b), bytes.Clone(good.b)
	binary.LittleEndian.PutUint32(huge[4:], MaxInodes+1)
	binary.LittleEndian.PutUint64(long[40:], good.s.InodeTable+maxTail+1)
	for name, tc := range map[string]struct {
		b    []byte
		l    Limits
		want string
	}{
		"inodes":     {good.b, Limits{Entries: 3}, "limit of 3 inodes"},
		"all inodes": {huge, Limits{}, "limit of 1048576 inodes"},
		"entries":    {good.b, Limits{Entries: int64(good.s.Inodes)}, " entries"}, // two more for the hard links, one less for the root
		"bytes":      {good.b, Limits{Bytes: 1 << 20}, "limit of 1048576 bytes"},
		"file":       {good.b, Limits{Bytes: 200}, "limit of 200 bytes"},
		"depth":      {good.b, Limits{Depth: 1}, "limit of 1 components"},
		"path":       {good.b, Limits{PathLen: 10}, "limit of 10 bytes in a name"},
		"tables":     {long, Limits{}, "bytes in all tables"},
	} {
		t.Run(name, func(t *testing.T) {
			err := unpackBeside(t, tc.b, tc.l)
			var le *LimitError
			if !errors.As(err, &le) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
	deep := shell(t, "d=.; for i in $(seq 300); do d=$d/d; done; mkdir -p $d")
	b, err := os.ReadFile(pack(t, deep))
	if err != nil {
		t.Fatal(err)
	}
	if err := unpackBeside(t, b, Limits{}); err == nil || !strings.Contains(err.Error(), "limit of 256 components") {
		t.Errorf("deep: %v", err)
	}
}

// TestEveryByte changes every byte of the tables in turn: there is an error, or a
// tree within bounds, and nothing else.
func TestEveryByte(t *testing.T) {
	testtree.NeedRoot(t)
	good := makeRaw(t)
	for i := range good.b {
		if uint64(i) >= SuperSize && uint64(i) < good.s.InodeTable {
			continue // data
		}
		for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff, good.b[i] ^ 1, good.b[i] + 1} {
			b := bytes.Clone(good.b)
			b[i] = v
			checkTree(t, b)
		}
	}
}

// checkTree reads the tree of b, if it has one, and checks what the rest of the
// package relies on.
func checkTree(t testing.TB, b []byte) {
	t.Helper()
	s, err := ParseSuper(b)
	if err != nil || s.BytesUsed > uint64(len(b)) || (&Unpacker{}).check(s) != nil {
		return
	}
	tables, err := readTables(s, b[s.InodeTable:s.BytesUsed])
	if err != nil {
		return
	}
	tree, err := tables.walk(context.Background(), Limits{Entries: 10000, Bytes: 1 << 30})
	if err != nil {
		return
	}
	for i := range tree.nodes {
		n := &tree.nodes[i]
		path := tree.path(uint32(i))
		if !filepath.IsLocal(path) || i > 0 && (n.parent >= uint32(i) || tree.nodes[n.parent].kind != kindDir) {
			t.Fatalf("node %d: path %q, parent %d", i, path, n.parent)
		}
		if n.kind == kindSymlink {
			_ = tree.target(n)
		}
		if _, err := tree.xattrs.list(n.xattr); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		_, _ = tree.owners[n.uid], tree.owners[n.gid]
	}
	for _, p := range tree.pieces {
		n := tree.nodes[p.node]
		if p.start < SuperSize || p.start+uint64(p.size&sizeMask) > s.InodeTable || uint64(p.index)*uint64(s.BlockSize) >= n.size {
			t.Fatalf("piece %+v of a file of %d bytes", p, n.size)
		}
	}
}

// FuzzTables: whatever the tables say, what is read of them is within bounds.
func FuzzTables(f *testing.F) {
	testtree.NeedRoot(f)
	f.Add(makeRaw(f).b)
	for _, c := range []string{"gzip", "xz", "zstd"} {
		b, err := os.ReadFile(filepath.Join(testtree.Shared(f), "small/squashfs", c+".sqfs"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkTree(t, b) })
}

// FuzzUnpack: whatever the file, nothing outside of the directory changes.
func FuzzUnpack(f *testing.F) {
	testtree.NeedRoot(f)
	f.Add(makeRaw(f).b)
	f.Fuzz(func(t *testing.T, b []byte) { _ = unpackBeside(t, b, Limits{Entries: 1000, Bytes: 1 << 22}) })
}

// TestCutShort: wherever the file ends too early, that is an error, read ahead or
// not.
func TestCutShort(t *testing.T) {
	testtree.NeedRoot(t)
	good := makeRaw(t)
	for _, n := range []int{0, 3, 95, 96, 97, 5000, int(good.s.InodeTable) - 1, int(good.s.InodeTable), int(good.s.BytesUsed) - 1} {
		for _, ahead := range []bool{true, false} {
			var at io.ReaderAt
			if ahead {
				at = bytes.NewReader(good.b)
			}
			dir := openDir(t, t.TempDir())
			_, err := (&Unpacker{TempDir: t.TempDir()}).Unpack(t.Context(), bytes.NewReader(good.b[:n]), at, dir)
			if err == nil || n >= SuperSize && !strings.Contains(err.Error(), "cut short") {
				t.Errorf("%d bytes, read ahead %v: %v", n, ahead, err)
			}
		}
	}
	boom := errors.New("boom")
	for _, n := range []int64{10, 200, 15000} {
		r := io.MultiReader(io.NewSectionReader(bytes.NewReader(good.b), 0, n), broken{boom})
		_, err := (&Unpacker{TempDir: t.TempDir()}).Unpack(t.Context(), r, bytes.NewReader(good.b), openDir(t, t.TempDir()))
		if !errors.Is(err, boom) {
			t.Errorf("the source breaks at %d: %v", n, err)
		}
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// TestChanged: tables that are others when their turn comes are refused.
func TestChanged(t *testing.T) {
	testtree.NeedRoot(t)
	good := makeRaw(t)
	other := &raw{t, bytes.Clone(good.b), good.s}
	other.rename("link", "lint")
	_, err := (&Unpacker{}).Unpack(t.Context(), bytes.NewReader(good.b), bytes.NewReader(other.b), openDir(t, t.TempDir()))
	if err == nil || !strings.Contains(err.Error(), "changed while") {
		t.Errorf("got %v", err)
	}
}
