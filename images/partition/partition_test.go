package partition

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const disk = 64 << 20

// table makes a disk with a partition table by sfdisk(8).
func table(t testing.TB, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	run(t, "", "truncate", "-s", "64M", path)
	run(t, script, "sfdisk", "-q", path)
	return path
}

func run(t testing.TB, stdin, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func open(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

const gpt = `label: gpt
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, name="bios\n"
start=4096, size=8192, type=uefi
start=20480, size=40960, type=linux, name=root
`

const mbr = `label: dos
start=2048, size=4096, type=c
start=8192, size=40960, type=83, bootable
start=61440, size=61440, type=5
start=63488, size=8192, type=82
start=73728, size=20480, type=83
`

func TestRead(t *testing.T) {
	const linux = "0fc63daf-8483-4772-8e79-3d69d8477de4"
	for name, tc := range map[string]struct {
		script string
		want   []Partition
	}{
		"gpt": {gpt, []Partition{
			{1, 2048 * 512, 2048 * 512, "21686148-6449-6e6f-744e-656564454649", `bios\n`},
			{2, 4096 * 512, 8192 * 512, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", ""},
			{3, 20480 * 512, 40960 * 512, linux, "root"},
		}},
		"mbr": {mbr, []Partition{
			{1, 2048 * 512, 4096 * 512, "0x0c", ""},
			{2, 8192 * 512, 40960 * 512, "0x83", ""},
			{5, 63488 * 512, 8192 * 512, "0x82", ""},
			{6, 73728 * 512, 20480 * 512, "0x83", ""},
		}},
	} {
		f := open(t, table(t, tc.script))
		got, err := Read(f, disk)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", name, diff)
		}
	}
	// The second copy of a GPT is used where the first is damaged.
	f := open(t, table(t, gpt))
	if _, err := f.WriteAt([]byte("x"), 512+60); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(f, disk); err != nil || len(got) != 3 {
		t.Errorf("damaged first copy: %v %v", got, err)
	}
}

// TestReadRefuses: tables that lie or loop are errors.
func TestReadRefuses(t *testing.T) {
	both := func(change func(b []byte)) func(f *os.File) {
		return func(f *os.File) {
			for _, at := range []int64{512, disk - 512} {
				b := make([]byte, 512)
				if _, err := f.ReadAt(b, at); err != nil {
					t.Fatal(err)
				}
				change(b)
				if _, err := f.WriteAt(b, at); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	write := func(at int64, b ...byte) func(f *os.File) {
		return func(f *os.File) {
			if _, err := f.WriteAt(b, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		script string
		change func(f *os.File)
		want   string
	}{
		"header's sum":      {gpt, both(func(b []byte) { b[60] ^= 1 }), "checksum of the GPT's header"},
		"no header":         {gpt, both(func(b []byte) { b[0] = 'x' }), "no GPT"},
		"length":            {gpt, both(func(b []byte) { b[13] = 0xff }), "cannot have"},
		"entries' sum":      {gpt, both(func(b []byte) { b[88] ^= 1; sum(b) }), "checksum of the GPT's entries"},
		"many entries":      {gpt, both(func(b []byte) { b[83] = 0xff; sum(b) }), "not supported"},
		"odd entries":       {gpt, both(func(b []byte) { b[84] = 1; sum(b) }), "not supported"},
		"entries elsewhere": {gpt, both(func(b []byte) { b[79] = 0xff; sum(b) }), "not supported"},
		"outside":           {mbr, write(446+16+12, 0xff, 0xff, 0xff, 0xff), "outside of the disk"},
		"loop":              {mbr, write(61440*512+446+16, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0), "more than 100"},
		"extended outside":  {mbr, write(446+32+8, 0xff, 0xff, 0xff, 0xff), "damaged"},
	} {
		f := open(t, table(t, tc.script))
		tc.change(f)
		if got, err := Read(f, disk); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v %v, want ...%s...", name, got, err, tc.want)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, 100), make([]byte, 1<<20)} {
		if _, err := Read(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrNone) {
			t.Errorf("%d zeros: %v", len(b), err)
		}
	}
}

// sum sets the checksum of a GPT's header.
func sum(b []byte) {
	clear(b[16:20])
	binary.LittleEndian.PutUint32(b[16:], crc32.ChecksumIEEE(b[:92]))
}

// TestRoot: the root is found by its type, else by its size, in each kind of file
// system, and on a disk without a table.
func TestRoot(t *testing.T) {
	dir := t.TempDir()
	fs := map[Filesystem]string{}
	for kind, command := range map[Filesystem]string{
		Ext4: "truncate -s 8M $1 && mkfs.ext4 -q -F $1", XFS: "truncate -s 300M $1 && mkfs.xfs -q -f $1", Btrfs: "truncate -s 120M $1 && mkfs.btrfs -q $1",
		"FAT": "truncate -s 8M $1 && printf 'FAT16   ' | dd of=$1 bs=1 seek=54 conv=notrunc status=none", "swap space": "truncate -s 8M $1 && mkswap -q $1",
	} {
		path := filepath.Join(dir, strings.ReplaceAll(string(kind), " ", "-"))
		run(t, "", "sh", "-ec", command, "sh", path)
		fs[kind] = path
	}
	for kind, path := range fs {
		f := open(t, path)
		if got, err := Detect(f, 0); got != kind || err != nil {
			t.Errorf("%s: %q %v", kind, got, err)
		}
		p, got, err := Root(f, 8<<20, "x86_64")
		if kind.Mountable() && (err != nil || got != kind || p != Partition{Size: 8 << 20}) || !kind.Mountable() && !errors.Is(err, ErrNone) {
			t.Errorf("%s without a table: %+v %q %v", kind, p, got, err)
		}
	}
	// put copies the beginning of a file system, which is all that is looked at.
	put := func(f *os.File, kind Filesystem, sector int64) {
		b := make([]byte, 96<<10)
		if _, err := open(t, fs[kind]).ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(b, sector*512); err != nil {
			t.Fatal(err)
		}
	}
	typed := strings.Replace(gpt, "type=uefi", "type="+roots["x86_64"], 1)
	for name, tc := range map[string]struct {
		script string
		put    map[int64]Filesystem
		number int
		kind   Filesystem
		want   string
	}{
		"largest":           {gpt, map[int64]Filesystem{4096: Btrfs, 20480: XFS}, 3, XFS, ""},
		"only":              {gpt, map[int64]Filesystem{4096: Ext4, 20480: "swap space"}, 2, Ext4, ""},
		"typed":             {typed, map[int64]Filesystem{4096: Ext4, 20480: Ext4}, 2, Ext4, ""},
		"typed but swap":    {typed, map[int64]Filesystem{4096: "swap space", 20480: Btrfs}, 3, Btrfs, ""},
		"of another":        {strings.Replace(gpt, "type=uefi", "type="+roots["aarch64"], 1), map[int64]Filesystem{4096: Ext4, 20480: Ext4}, 3, Ext4, ""},
		"logical":           {mbr, map[int64]Filesystem{2048: "FAT", 73728: Ext4}, 6, Ext4, ""},
		"primary":           {mbr, map[int64]Filesystem{8192: Ext4, 73728: Ext4}, 2, Ext4, ""},
		"no file system":    {gpt, map[int64]Filesystem{4096: "FAT"}, 0, Unknown, "partition 2 has FAT, partition 3 has nothing that is known"},
		"nothing but a GPT": {gpt, nil, 0, Unknown, "there is no root partition"},
	} {
		f := open(t, table(t, tc.script))
		for at, kind := range tc.put {
			put(f, kind, at)
		}
		p, kind, err := Root(f, disk, "x86_64")
		if p.Number != tc.number || kind != tc.kind || (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %+v %q %v", name, p, kind, err)
		}
	}
}

// FuzzRoot: whatever is on the disk, the root is within it.
func FuzzRoot(f *testing.F) {
	small := make([]byte, 8<<10)
	copy(small[446:], []byte{0, 0, 0, 0, 0x83, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0})
	copy(small[510:], "\x55\xaa")
	copy(small[1024:], "XFSB")
	f.Add(small)
	protective := bytes.Clone(small[:3072])
	protective[446+4] = 0xee
	copy(protective[512:], "EFI PART")
	h := protective[512:1024]
	for at, v := range map[int]uint32{12: 92, 72: 2, 80: 1, 84: 128} {
		binary.LittleEndian.PutUint32(h[at:], v)
	}
	copy(protective[1024:], "type of a linux.")
	protective[1024+32], protective[1024+40] = 3, 5
	binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(protective[1024:1024+128]))
	sum(h)
	f.Add(protective)
	f.Fuzz(func(t *testing.T, b []byte) {
		size := int64(len(b))
		p, fs, err := Root(bytes.NewReader(b), size, "x86_64")
		if err == nil && (!fs.Mountable() || p.Start < 0 || p.Size <= 0 || p.Start+p.Size > size) {
			t.Errorf("%+v %q", p, fs)
		}
	})
}
