package images

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"poolctl/images/compress"
	"poolctl/images/internal/testtree"
)

// aclXattr is a POSIX ACL that gives user 1234 rwx (linux/posix_acl_xattr.h).
func aclXattr() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 6, 1<<32 - 1}, {2, 7, 1234}, {4, 4, 1<<32 - 1}, {16, 7, 1<<32 - 1}, {32, 4, 1<<32 - 1}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// packSource is a random tree with some certain things in it, and metadata.
func packSource(t *testing.T) (*Source, string) {
	t.Helper()
	root := volume(t, btrfsPool(t), "src")
	testtree.Random(t, root, uint64(time.Now().UnixNano()), 100, 24<<10)
	odd := filepath.Join(root, "certain")
	if err := os.WriteFile(odd, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(odd, "system.posix_acl_access", aclXattr(), 0); err != nil {
		t.Fatal(err)
	}
	ts := []unix.Timespec{{Sec: 1000, Nsec: 123456789}, {Sec: 1000, Nsec: 123456789}}
	if err := unix.UtimesNano(odd, ts); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	meta := &Metadata{
		Architecture: "x86_64", CreationDate: 1_700_000_000, ExpiryDate: 1_900_000_000,
		Properties: map[string]string{"os": "Test", "release": "3.10", "description": "a: \"b\"\nc"},
		Templates: map[string]*Template{"/etc/hostname": {
			When: []string{"create", "copy"}, CreateOnly: true, Template: "hostname.tpl", Properties: map[string]string{"k": "v"}, UID: "1", GID: "2", Mode: "0640",
		}},
	}
	return &Source{Metadata: meta, Templates: map[string][]byte{"hostname.tpl": []byte("{{ instance.name }}\n"), "b.tpl": {}}, Root: f}, root
}

// TestPackAndUnpack packs a random tree in every way, and unpacks it again: it is the same, twice the same bytes, and the
// fingerprint is that of the files.
func TestPackAndUnpack(t *testing.T) {
	s, root := packSource(t)
	for _, text := range []string{"none", "gzip", "zstd", "xz -1", "bzip2 -1", "lz4", "lzma -1", "squashfs -3"} {
		m, err := compress.ParseMethod(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, unified := range []bool{false, true} {
			if unified && m.Format == compress.Squashfs {
				continue
			}
			name := text + map[bool]string{true: ", unified"}[unified]
			t.Run(name, func(t *testing.T) { packAndUnpack(t, s, root, m, unified) })
		}
	}
}

func packAndUnpack(t *testing.T, s *Source, root string, m compress.Method, unified bool) {
	place := btrfsPool(t)
	var req Request
	var parts [][]byte
	if unified {
		b := packed(t, func(w io.Writer) error { return s.PackUnified(t.Context(), m, w) })
		parts, req.Unified = [][]byte{b}, bytesPart("unified", b, nil)
	} else {
		meta := packed(t, func(w io.Writer) error { return s.PackMetadata(t.Context(), compress.Method{Format: compress.XZ}, w) })
		rootfs := packed(t, func(w io.Writer) error {
			if m.Format == compress.Squashfs {
				return packSquashfs(t, s, m, w)
			}
			return s.PackRoot(t.Context(), m, w)
		})
		parts, req.Metadata, req.Rootfs = [][]byte{meta, rootfs}, bytesPart("meta", meta, nil), bytesPart("root", rootfs, nil)
	}
	dir := volume(t, place, "out")
	req.Fingerprint, req.Dir = fingerprint(parts...), dir
	res, err := Unpack(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.Metadata, res.Metadata); diff != "" {
		t.Errorf("metadata (-packed +unpacked):\n%s", diff)
	}
	if got, err := ReadTemplates(dir); err != nil || !cmp.Equal(got, s.Templates) {
		t.Errorf("templates: %q, %v", got, err)
	}
	want, got := testtree.Read(t, root, testtree.Options{}), testtree.Read(t, filepath.Join(dir, "rootfs"), testtree.Options{})
	for name, n := range want {
		switch {
		case n.Mode&unix.S_IFMT == unix.S_IFSOCK && m.Format != compress.Squashfs:
			delete(want, name)
		case m.Format == compress.Squashfs: // whole seconds, no ACLs
			seconds, _, _ := strings.Cut(n.Mtime, ".")
			n.Mtime = seconds + ".000000000"
			delete(n.Xattrs, "system.posix_acl_access")
			want[name] = n
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the tree (-packed +unpacked):\n%.3000s", diff)
	}
}

// packed packs twice and returns the bytes, which have to be the same.
func packed(t *testing.T, pack func(io.Writer) error) []byte {
	t.Helper()
	var a, b bytes.Buffer
	if err := errors.Join(pack(&a), pack(&b)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("packed twice, the bytes differ")
	}
	return a.Bytes()
}

func packSquashfs(t *testing.T, s *Source, m compress.Method, w io.Writer) error {
	f, err := os.OpenFile(t.TempDir(), unix.O_TMPFILE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	reported := int64(-1)
	told := *s
	told.Report = func(n int64) { reported = n }
	err = told.PackSquashfs(t.Context(), m.Level, f)
	if st, serr := f.Stat(); err == nil && (serr != nil || st.Size() != reported) {
		err = fmt.Errorf("%d bytes were reported: %v, %w", reported, st, serr)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		_, err = io.Copy(w, f)
	}
	return errors.Join(err, f.Close())
}

// TestPackCancel: a packer that is cancelled ends, with its program.
func TestPackCancel(t *testing.T) {
	s, _ := packSource(t)
	for _, text := range []string{"none", "xz", "squashfs"} {
		m, err := compress.ParseMethod(text)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if m.Format == compress.Squashfs {
			f, err := os.OpenFile(t.TempDir(), unix.O_TMPFILE|os.O_RDWR, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			err = s.PackSquashfs(ctx, 0, f)
			_ = f.Close()
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if err := s.PackUnified(ctx, m, io.Discard); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestCountACLs(t *testing.T) {
	s, _ := packSource(t)
	if n, err := CountACLs(t.Context(), s.Root); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}
