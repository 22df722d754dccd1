package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/images/internal/testtree"
	"poolctl/images/qcow2"
)

// tinyDisk is a qcow2 of four clusters of 512 bytes: header, both tables, and the
// data of the disk's third cluster of eight.
func tinyDisk() []byte {
	b := make([]byte, 4*512)
	copy(b, qcow2.Magic)
	for at, v := range map[int]uint32{4: 3, 20: 9, 36: 1, 100: 104} {
		binary.BigEndian.PutUint32(b[at:], v)
	}
	for at, v := range map[int]uint64{24: 4096, 40: 512, 512: 1024, 1024 + 16: 1536} {
		binary.BigEndian.PutUint64(b[at:], v)
	}
	copy(b[1536:], "data")
	return b
}

// TestUnpackDisk: the disk of a virtual machine becomes root.img, from a split and
// a unified image, on btrfs without copy on write; a container has none, and the
// other type than the wanted one is refused.
func TestUnpackDisk(t *testing.T) {
	testtree.NeedRoot(t)
	const yaml = "architecture: x86_64\n"
	disk := tinyDisk()
	meta := bytesPart("meta", tarOf(t, plainFile("metadata.yaml", yaml)), nil)
	unified := bytesPart("image", tarOf(t, plainFile("metadata.yaml", yaml), plainFile("rootfs.img", string(disk))), nil)
	root := bytesPart("root", tarOf(t, plainFile("f", "x")), nil)
	want := make([]byte, 4096)
	copy(want[1024:], "data")
	pool := btrfsPool(t)
	for name, tc := range map[string]struct {
		req  Request
		want string
	}{
		"split":              {Request{Metadata: meta, Rootfs: aheadPart("disk", disk, true), Type: TypeVM}, ""},
		"split, stored":      {Request{Metadata: meta, Rootfs: aheadPart("disk", disk, false)}, ""},
		"unified":            {Request{Unified: unified, Type: TypeVM}, ""},
		"unified, any":       {Request{Unified: unified}, ""},
		"of a container":     {Request{Metadata: meta, Rootfs: bytesPart("disk", disk, nil), Type: TypeContainer}, "virtual machine"},
		"unified container":  {Request{Unified: unified, Type: TypeContainer}, "virtual machine"},
		"no disk":            {Request{Metadata: meta, Rootfs: root, Type: TypeVM}, "no qcow2 disk image"},
		"unified, no disk":   {Request{Unified: bytesPart("image", tarOf(t, plainFile("metadata.yaml", yaml), plainFile("rootfs/f", "x")), nil), Type: TypeVM}, "no disk"},
		"both":               {Request{Unified: bytesPart("image", tarOf(t, plainFile("metadata.yaml", yaml), plainFile("rootfs.img", string(disk)), plainFile("rootfs/f", "x")), nil)}, "a root file system and a disk"},
		"unified, raw":       {Request{Unified: bytesPart("image", tarOf(t, plainFile("metadata.yaml", yaml), plainFile("rootfs.img", "raw")), nil)}, "rootfs.img: it is no qcow2"},
		"unified, directory": {Request{Unified: bytesPart("image", tarOf(t, plainFile("metadata.yaml", yaml), directory("rootfs.img")), nil)}, "rootfs.img"},
		"too large":          {Request{Metadata: meta, Rootfs: bytesPart("disk", disk, nil), Limits: Limits{DiskBytes: 1024}}, "limit of 1024 bytes of a disk"},
		"cut":                {Request{Metadata: meta, Rootfs: bytesPart("disk", disk[:1200], nil)}, "cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.req.Dir, tc.req.TempDir = volume(t, pool, strings.ReplaceAll(name, " ", "-")), t.TempDir()
			res, err := Unpack(context.Background(), tc.req)
			checkNothingLeft(t, tc.req.TempDir)
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want ...%s...", err, tc.want)
				}
				return
			}
			if err != nil || res.VirtualSize != 4096 {
				t.Fatalf("%+v %v", res, err)
			}
			path := filepath.Join(tc.req.Dir, DiskFile)
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("another disk, %v", err)
			}
			if flags, err := exec.Command("lsattr", path).Output(); err != nil || !strings.Contains(strings.Fields(string(flags))[0], "C") {
				t.Errorf("flags %s %v", flags, err)
			}
			entries, err := os.ReadDir(tc.req.Dir)
			if err != nil || len(entries) != 2 {
				t.Errorf("%v %v", entries, err)
			}
		})
	}
}

// FuzzUnpack: whatever a unified image holds, nothing outside of its directory
// changes, and one that is taken has metadata and either a root or a disk.
func FuzzUnpack(f *testing.F) {
	testtree.NeedRoot(f)
	f.Add(tarOf(f, plainFile("metadata.yaml", "architecture: x86_64\n"), plainFile("rootfs/f", "x")))
	f.Add(tarOf(f, plainFile("metadata.yaml", "architecture: x86_64\n"), plainFile("rootfs.img", string(tinyDisk()))))
	f.Add(tarOf(f, symlink("rootfs", ".."), plainFile("rootfs/victim", "x"), tar.Header{Name: "templates/x", Typeflag: tar.TypeLink, Linkname: "../victim"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "volume")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		victim := filepath.Join(outer, "victim")
		if err := os.WriteFile(victim, []byte("victim"), 0o600); err != nil {
			t.Fatal(err)
		}
		res, err := Unpack(t.Context(), Request{Unified: bytesPart("image", b, nil), Dir: dir, Limits: Limits{Entries: 100, Bytes: 1 << 20, DiskBytes: 1 << 20}})
		var st unix.Stat_t
		if serr := unix.Stat(victim, &st); serr != nil || st.Nlink != 1 || st.Size != 6 || st.Mode&0o7777 != 0o600 {
			t.Errorf("the file outside: %+v %v", st, serr)
		}
		if entries, rerr := os.ReadDir(outer); rerr != nil || len(entries) != 2 {
			t.Errorf("outside: %v %v", entries, rerr)
		}
		if err != nil {
			return
		}
		_, disk := os.Lstat(filepath.Join(dir, DiskFile))
		_, root := os.Lstat(filepath.Join(dir, rootfsDir))
		if res.Metadata == nil || (disk == nil) == (root == nil) || (disk == nil) != (res.VirtualSize > 0) {
			t.Errorf("%+v: disk %v, root %v", res, disk, root)
		}
	})
}
