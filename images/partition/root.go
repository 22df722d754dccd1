package partition

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// roots are the GPT types of root partitions by the kernel's name of the
// architecture.
var roots = map[string]string{
	"x86_64":  "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
	"i686":    "44479540-f297-41b2-9af7-d131d5f0458a",
	"aarch64": "b921b045-1df0-41c3-af44-4c6f280d3fae",
	"armv7l":  "69dad710-2ce4-4e3c-b16c-21a1d49abed3",
	"riscv64": "72ec70a6-cf74-40e6-bd49-4bda08e8f224",
	"ppc64le": "c31c45e6-3f39-412e-80fb-4809c4980599",
	"s390x":   "5eead9a9-fe09-4a1e-a1d7-520d00531306",
}

// A Filesystem is what a partition holds.
type Filesystem string

// File systems that roots are in, and what else a partition may hold.
const (
	Ext4    Filesystem = "ext4" // ext2 and ext3 too
	Btrfs   Filesystem = "btrfs"
	XFS     Filesystem = "xfs"
	Unknown Filesystem = ""
)

// Mountable says whether it is one that roots are in.
func (f Filesystem) Mountable() bool { return f == Ext4 || f == Btrfs || f == XFS }

// signatures are looked through in order.
var signatures = []struct {
	fs    Filesystem
	at    int64
	magic string
}{
	{Btrfs, 64<<10 + 64, "_BHRfS_M"},
	{XFS, 0, "XFSB"},
	{Ext4, 1024 + 56, "\x53\xef"},
	{"LUKS encryption", 0, "LUKS\xba\xbe"},
	{"an LVM physical volume", 512 + 24, "LVM2 001"},
	{"a squashfs", 0, "hsqs"},
	{"an EROFS", 1024, "\xe2\xe1\xf5\xe0"},
	{"an F2FS", 1024, "\x10\x20\xf5\xf2"},
	{"FAT", 82, "FAT32   "},
	{"FAT", 54, "FAT"},
	{"swap space", 4086, "SWAPSPACE2"},
}

// Detect says what is at byte start of a disk; Unknown when it is none of what is
// known here.
func Detect(disk io.ReaderAt, start int64) (Filesystem, error) {
	for _, s := range signatures {
		b := make([]byte, len(s.magic))
		if _, err := disk.ReadAt(b, start+s.at); errors.Is(err, io.EOF) {
			continue
		} else if err != nil {
			return Unknown, fmt.Errorf("cannot see what is on the disk: %w", err)
		}
		if string(b) == s.magic {
			return s.fs, nil
		}
	}
	return Unknown, nil
}

// Root finds the root partition of a disk of size bytes made for an architecture
// (the kernel's name of it): the one whose type says so, or else the largest, among
// those with a file system that roots are in. A disk without a table is one
// partition, of number 0, if it is such a file system.
func Root(disk io.ReaderAt, size int64, arch string) (Partition, Filesystem, error) {
	parts, err := Read(disk, size)
	if errors.Is(err, ErrNone) {
		whole := Partition{Size: size}
		fs, derr := Detect(disk, 0)
		if derr == nil && !fs.Mountable() {
			derr = err
		}
		return whole, fs, derr
	}
	if err != nil {
		return Partition{}, Unknown, err
	}
	var best Partition
	var kind Filesystem
	var seen []string
	for _, p := range parts {
		fs, err := Detect(disk, p.Start)
		if err != nil {
			return Partition{}, Unknown, err
		}
		if !fs.Mountable() {
			if fs == Unknown {
				fs = "nothing that is known"
			}
			seen = append(seen, fmt.Sprintf("partition %d has %s", p.Number, fs))
			continue
		}
		typed, bestTyped := p.Type == roots[arch], best.Type == roots[arch]
		if kind == Unknown || typed && !bestTyped || typed == bestTyped && p.Size > best.Size {
			best, kind = p, fs
		}
	}
	if kind == Unknown {
		return Partition{}, Unknown, fmt.Errorf("there is no root partition on the disk (ext4, btrfs or xfs): %s", strings.Join(seen, ", "))
	}
	return best, kind, nil
}
