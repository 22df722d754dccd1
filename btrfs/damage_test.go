package btrfs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/fixtures/testfs"
)

// corrupt changes one byte on the disk, below the file system, wherever the
// image has a text.
func corrupt(t *testing.T, image string, text []byte) {
	t.Helper()
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	must(t, err)
	defer func() { _ = f.Close() }()
	data, err := os.ReadFile(image)
	must(t, err)
	found := 0
	for at := 0; ; found++ {
		i := bytes.Index(data[at:], text)
		if i < 0 {
			break
		}
		_, err := f.WriteAt([]byte{text[0] ^ 1}, int64(at+i))
		must(t, err)
		at += i + 1
	}
	if found == 0 {
		t.Fatal("the text is nowhere in the image")
	}
}

// A scrub finds what is wrong, and the files that have it are named, in every
// snapshot that has it as well, and no others.
func TestScrubAndDamaged(t *testing.T) {
	image := newImage(t, 512<<20, MkfsOptions{})
	mnt := mountImage(t, image)
	must(t, CreateSubvolume(mnt+"/v"))
	must(t, os.Mkdir(mnt+"/v/a dir", 0o700))
	fillFile(t, mnt+"/v/good", 3<<20)
	fillFile(t, mnt+"/v/a dir/bad", 3<<20)
	marked := bytes.Repeat([]byte("marked block of this test "), 200)[:4096]
	f, err := os.OpenFile(mnt+"/v/a dir/bad", os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(marked, 1<<20+8192)
	must(t, err)
	must(t, f.Close())
	must(t, Snapshot(mnt+"/v", mnt+"/s", true))
	fillFile(t, mnt+"/v/after", 1<<20)
	must(t, Sync(mnt))
	if p, err := Scrub(t.Context(), mnt, 1, true, nil); err != nil || p.Errors() != 0 || p.DataBytes < 7<<20 {
		t.Fatalf("scrub of what is whole: %+v, %v", p, err)
	}
	if found, err := Damaged(t.Context(), mnt, nil); err != nil || len(found) != 0 {
		t.Fatalf("damaged without damage: %+v, %v", found, err)
	}
	corrupt(t, image, marked[:64])
	p, err := Scrub(t.Context(), mnt, 1, false, nil)
	must(t, err)
	if p.ChecksumErrors != 1 || p.UncorrectableErrors != 1 {
		t.Errorf("scrub: %+v", p)
	}
	stats, err := DeviceStats(mnt, 1)
	must(t, err)
	if stats.CorruptionErrors == 0 {
		t.Errorf("counters: %+v", stats)
	}
	var read uint64
	found, err := Damaged(t.Context(), mnt, func(n uint64) { read = n })
	must(t, err)
	if len(found) != 2 || read < 7<<20 || read > 12<<20 {
		t.Fatalf("read %d bytes, found %+v", read, found)
	}
	for i, subvolume := range []string{"s", "v"} {
		if d := found[i]; d.Subvolume != subvolume || d.Path != "a dir/bad" || d.Offset != 1<<20+8192 || d.Length != 4096 {
			t.Errorf("%+v; want it in %s", d, subvolume)
		}
	}
	if problems, err := ReadMetadata(t.Context(), mnt); err != nil || len(problems) != 0 {
		t.Errorf("metadata: %q, %v", problems, err)
	}
	wantErr(t, "scrub status", func() error { _, err := GetScrub(mnt, 1); return err }(), ErrNoScrub)
	wantErr(t, "scrub cancel", CancelScrub(mnt), ErrNoScrub)
	_, err = Scrub(t.Context(), mnt, 9, true, nil)
	wantErr(t, "no such device", err, unix.ENODEV)
	if before, err := ResetDeviceStats(mnt, 1); err != nil || before != stats && before.CorruptionErrors < stats.CorruptionErrors {
		t.Errorf("reset: %+v, %v", before, err)
	}
	if now, err := DeviceStats(mnt, 1); err != nil || now.Sum() != 0 {
		t.Errorf("after the reset: %+v, %v", now, err)
	}
}

// Also compressed data, which are read through the cache.
func TestDamagedCompressed(t *testing.T) {
	image := newImage(t, 512<<20, MkfsOptions{})
	dir := filepath.Join(t.TempDir(), "mnt")
	must(t, os.Mkdir(dir, 0o700))
	run(t, "mount", "-t", "btrfs", "-o", "loop,compress-force=lzo", image, dir)
	t.Cleanup(func() { testfs.Unmount(t, dir) })
	text := bytes.Repeat([]byte("once and never again: 5be0cd19137e2179\n"), 1)
	must(t, os.WriteFile(dir+"/f", append(text, make([]byte, 300<<10)...), 0o600))
	must(t, Sync(dir))
	corrupt(t, image, text[:20])
	found, err := Damaged(t.Context(), dir, nil)
	must(t, err)
	if len(found) != 1 || found[0].Path != "f" || found[0].Offset != 0 {
		t.Errorf("%+v", found)
	}
}

func FuzzParseFileExtent(f *testing.F) {
	f.Add(make([]byte, 53))
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, ok := parseFileExtent(data); ok && e.disk == 0 {
			t.Error("a hole")
		}
	})
}
