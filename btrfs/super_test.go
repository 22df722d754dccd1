package btrfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func superBlock(t testing.TB, image string) []byte {
	t.Helper()
	f, err := os.Open(image)
	must(t, err)
	defer func() { _ = f.Close() }()
	b := make([]byte, superSize)
	_, err = f.ReadAt(b, superOffset)
	must(t, err)
	return b
}

func TestReadSuper(t *testing.T) {
	const size = 256 << 20
	label := strings.Repeat("ü ", 84) + "xy"
	for _, csum := range []string{"crc32c", "sha256", "xxhash", "blake2"} {
		image := newImage(t, size, MkfsOptions{Label: label, Nodesize: 32768, ExtraArgs: []string{"--csum", csum}})
		s, err := ReadSuper(image)
		must(t, err)
		if s.Label != label || s.TotalBytes != size || s.Nodesize != 32768 || s.Sectorsize != 4096 || s.NumDevices != 1 || s.Generation == 0 || s.BytesUsed == 0 {
			t.Errorf("%s: %+v", csum, s)
		}
		if shown := run(t, "btrfs", "inspect-internal", "dump-super", image); !strings.Contains(shown, s.UUID) {
			t.Errorf("%s: UUID %s is not in\n%s", csum, s.UUID, shown)
		}
	}
}

// While it is mounted and written the superblock can be read all the same.
func TestReadSuperMounted(t *testing.T) {
	image := newImage(t, 256<<20, MkfsOptions{})
	before, err := ReadSuper(image)
	must(t, err)
	mnt := mountImage(t, image)
	done := make(chan error)
	go func() {
		var err error
		for i := 0; i < 100 && err == nil; i++ {
			err = errors.Join(os.WriteFile(mnt+"/f", []byte{byte(i)}, 0o600), Sync(mnt))
		}
		done <- err
	}()
	for reading := true; reading; {
		select {
		case err := <-done:
			must(t, err)
			reading = false
		default:
			s, err := ReadSuper(image)
			must(t, err)
			if s.UUID != before.UUID {
				t.Fatalf("UUID %s became %s", before.UUID, s.UUID)
			}
		}
	}
	info, err := FSInfo(mnt)
	must(t, err)
	if info.UUID != before.UUID || len(info.Devices) != 1 || info.Devices[0].TotalBytes != before.TotalBytes || info.Nodesize != before.Nodesize {
		t.Errorf("FSInfo %+v, superblock %+v", info, before)
	}
	stats, err := DeviceStats(mnt, info.Devices[0].ID)
	must(t, err)
	if stats != (DevStats{}) {
		t.Errorf("errors on a new device: %+v", stats)
	}
	_, err = DeviceStats(mnt, 99)
	wantErr(t, "DeviceStats of no device", err, unix.ENODEV)
}

func TestReadSuperRefuses(t *testing.T) {
	dir := t.TempDir()
	image := newImage(t, 256<<20, MkfsOptions{})
	good := superBlock(t, image)
	file := func(name string, change func([]byte) []byte) string {
		path := filepath.Join(dir, name)
		b := change(bytes.Clone(good))
		must(t, os.WriteFile(path, append(make([]byte, superOffset), b...), 0o600))
		return path
	}
	if _, err := ReadSuper(file("good", func(b []byte) []byte { return b })); err != nil {
		t.Errorf("a copy of the superblock: %v", err)
	}
	write(t, dir+"/small", "x")
	must(t, os.Mkdir(dir+"/dir", 0o700))
	must(t, unix.Mkfifo(dir+"/fifo", 0o600))
	for name, path := range map[string]string{
		"zeros":     file("zeros", func(b []byte) []byte { return make([]byte, len(b)) }),
		"cut short": file("cut", func(b []byte) []byte { return b[:4000] }),
		"small":     dir + "/small",
		"directory": dir + "/dir",
		"pipe":      dir + "/fifo",
		"null":      "/dev/null",
	} {
		_, err := ReadSuper(path)
		wantErr(t, name, err, ErrNotBtrfs)
	}
	_, err := ReadSuper(dir + "/none")
	wantErr(t, "no file", err, fs.ErrNotExist)
	_, err = ReadSuper(file("damaged", func(b []byte) []byte { b[2000] ^= 1; return b }))
	if !errors.Is(err, errChecksum) || errors.Is(err, ErrNotBtrfs) {
		t.Errorf("a damaged superblock: %v", err)
	}
	for name, change := range map[string]func([]byte){
		"a mirror's":   func(b []byte) { b[50] = 4 },
		"nodesize":     func(b []byte) { b[148]++ },
		"sectorsize":   func(b []byte) { b[144]++ },
		"no devices":   func(b []byte) { b[136] = 0 },
		"unknown csum": func(b []byte) { b[196] = 9 },
	} {
		b := bytes.Clone(good)
		change(b)
		if s, err := parseSuper(sealed(b)); err == nil {
			t.Errorf("%s: accepted as %+v", name, s)
		}
	}
}

// sealed gives a superblock the right checksum.
func sealed(b []byte) []byte {
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[32:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func FuzzParseSuper(f *testing.F) {
	path := filepath.Join(f.TempDir(), "fs.img")
	must(f, errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, MinSize)))
	must(f, Mkfs(context.Background(), path, nil, MkfsOptions{Label: "fuzz"}))
	f.Add(superBlock(f, path))
	f.Add([]byte(superMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == superSize {
			b = sealed(bytes.Clone(b)) // to get past the checksum
		}
		s, err := parseSuper(b)
		if err == nil && (s.NumDevices == 0 || !validSize(s.Nodesize) || !validSize(s.Sectorsize) || len(s.Label) > labelSize || s.UUID != "" && !isUUID(s.UUID)) {
			t.Errorf("accepted as %+v", s)
		}
	})
}
