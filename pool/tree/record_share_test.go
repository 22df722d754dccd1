package tree

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a record has in common with the one before it is shared with that; what is written is the same as if nothing was.
func TestRecordShares(t *testing.T) {
	p := newPool(t)
	dir := p.mnt
	path := filepath.Join(dir, recordFile)
	doc := func(beginning string, snapshots int) document {
		d := newDocument()
		d.members["container"] = json.RawMessage(`{"name":"` + beginning + `"}`)
		for i := range snapshots {
			d.lists[sectionSnapshots] = append(d.lists[sectionSnapshots], json.RawMessage(fmt.Sprintf(`{"name":"s%06d","config":{%0900d}}`, i, 0)))
			d.lists[sectionVolumeSnapshots] = append(d.lists[sectionVolumeSnapshots], json.RawMessage(fmt.Sprintf(`{"name":"s%06d"}`, i)))
		}
		return d
	}
	write := func(d, old document) {
		t.Helper()
		var want bytes.Buffer
		must(t, d.write(&want), writeFileBy(dir, recordFile, d.size(), 0o400, (*os.File).Sync, func(to io.Writer) error {
			w := newSharingWriter(to, old, path)
			return errors.Join(d.write(w), w.Close())
		}))
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("%d bytes are written, want %d, %v", len(got), want.Len(), err)
		}
	}
	read := func() document {
		t.Helper()
		f, err := os.Open(path)
		must(t, err)
		defer func() { must(t, f.Close()) }()
		raw, err := io.ReadAll(f)
		must(t, err)
		d, ok := parseLines(raw)
		if !ok {
			t.Fatal("it is not in lines")
		}
		d.raw = raw
		d.is, err = identityOf(f)
		must(t, err)
		return d
	}
	write(doc("c", 600), document{})
	must(t, os.Link(path, filepath.Join(dir, "kept"))) // as a snapshot keeps it
	first := read()
	write(doc("c", 601), first)
	if got, size := sharedBytes(t, path), len(first.raw); got < size*9/10/shareUnit*shareUnit {
		t.Errorf("%d of %d bytes are shared", got, size)
	}
	write(doc("d", 602), read())
	if got := sharedBytes(t, path); got != 0 {
		t.Errorf("%d bytes are shared with a record that begins differently", got)
	}
	write(doc("d", 602), read()) // nothing is different
	write(doc("d", 500), read()) // or less is there
	write(doc("d", 1), read())
	write(doc("c", 602), first) // that is not what is there any more
	if got := sharedBytes(t, path); got != 0 {
		t.Errorf("%d bytes are shared with a record that is gone", got)
	}
}

// sharedBytes is how much of a file is shared with others (FIEMAP_EXTENT_SHARED).
func sharedBytes(t *testing.T, path string) int {
	t.Helper()
	var m struct { // struct fiemap
		start, length           uint64
		flags, mapped, count, _ uint32
		extents                 [128]struct {
			logical, physical, length, _, _ uint64
			flags, _, _, _                  uint32
		}
	}
	m.length, m.flags, m.count = 1<<62, 1, uint32(len(m.extents)) // FIEMAP_FLAG_SYNC
	f, err := os.Open(path)
	must(t, err)
	defer func() { must(t, f.Close()) }()
	const fiemap = 0xc020660b
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemap, uintptr(unsafe.Pointer(&m))); errno != 0 {
		t.Fatal(errno)
	}
	sum := 0
	for _, e := range m.extents[:m.mapped] {
		if e.flags&0x2000 != 0 {
			sum += int(e.length) //nolint:gosec // of a small file
		}
	}
	return sum
}
