package pool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// endSize is how much of a device's beginning and end has to be empty for the
// device to be, in bytes. Every usual file system, partition table, RAID, volume
// manager, encryption and swap area has its mark in there.
const endSize = 1 << 20

// mark is how what is on a device can be told, for the message.
type mark struct {
	what   string
	offset int64 // negative: from the end
	magic  string
}

// marks are the commonest marks of what devices hold (the formats' own
// documentation; libblkid has the same).
var marks = []mark{
	{"a LUKS encrypted volume", 0, "LUKS\xba\xbe"},
	{"an LVM physical volume", 0x218, "LVM2 001"},
	{"an LVM physical volume", 0x18, "LVM2 001"},
	{"a member of a RAID (md)", 0x1000, "\xfc\x4e\x2b\xa9"},
	{"a member of a RAID (md)", 0, "\xfc\x4e\x2b\xa9"},
	{"swap space", 4086, "SWAPSPACE2"},
	{"swap space", 65526, "SWAPSPACE2"},
	{"a hibernated system", 4086, "S1SUSPEND"},
	{"an ext2, ext3 or ext4 file system", 0x438, "\x53\xef"},
	{"an XFS file system", 0, "XFSB"},
	{"a bcachefs file system or bcache", 0x1018, "\xc6\x85\x73\xf6"},
	{"an F2FS file system", 0x400, "\x10\x20\xf5\xf2"},
	{"an NTFS file system", 3, "NTFS    "},
	{"an exFAT file system", 3, "EXFAT   "},
	{"a FAT file system", 0x36, "FAT"},
	{"a FAT file system", 0x52, "FAT32"},
	{"an ISO 9660 file system", 0x8001, "CD001"},
	{"a squashfs file system", 0, "hsqs"},
	{"an EROFS file system", 0x400, "\xe2\xe1\xf5\xe0"},
	{"a ZFS pool", 0x20000, "\x0c\xb1\xba\x00\x00\x00\x00\x00"},
	{"a ZFS pool", 0x21000, "\x0c\xb1\xba\x00\x00\x00\x00\x00"},
	{"a GPT partition table", 512, "EFI PART"},
	{"a GPT partition table", 4096, "EFI PART"},
	{"a GPT partition table", -512, "EFI PART"},
	{"a GPT partition table", -4096, "EFI PART"},
	{"a partition table or boot sector", 510, "\x55\xaa"},
}

// deviceContent says what a block device of that size holds; "" when its first
// and last MiB are empty, there is no copy of a btrfs superblock, no partition
// and no VMFS (the one thing that leaves both ends empty).
func deviceContent(f *os.File, size int64) (string, error) {
	supers, err := btrfs.Supers(f)
	if err != nil {
		return "", err
	}
	if len(supers) > 0 {
		return "a btrfs file system, or what is left of one", nil
	}
	for _, m := range marks {
		at := m.offset
		if at < 0 {
			at += size
		}
		if has, err := hasMagic(f, at, m.magic); err != nil || has {
			return m.what, err
		}
	}
	if has, err := hasMagic(f, 1<<20, "\x0d\xd0\x01\xc0"); err != nil || has {
		return "a VMFS volume", err
	}
	if parts, err := partitionsOf(f); err != nil || parts {
		return "partitions", err
	}
	for _, at := range []int64{0, size - endSize} {
		if empty, err := isZero(f, at, endSize); err != nil || !empty {
			return "data of a kind that poolctl does not know", err
		}
	}
	return "", nil
}

func hasMagic(f io.ReaderAt, at int64, magic string) (bool, error) {
	buf := make([]byte, len(magic))
	if _, err := f.ReadAt(buf, at); errors.Is(err, io.EOF) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("cannot see what it holds: %w", err)
	}
	return string(buf) == magic, nil
}

func isZero(f io.ReaderAt, at, n int64) (bool, error) {
	buf := make([]byte, n)
	if _, err := f.ReadAt(buf, at); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("cannot see what it holds: %w", err)
	}
	return len(bytes.Trim(buf, "\x00")) == 0, nil
}

// partitionsOf asks the kernel whether it knows partitions of the device.
func partitionsOf(f *os.File) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false, err
	}
	found, err := filepath.Glob(fmt.Sprintf("/sys/dev/block/%d:%d/*/partition", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
	return len(found) > 0, err
}

// wipeDevice makes everything unrecognizable that deviceContent could have
// found, and lets the kernel forget partitions.
func wipeDevice(f *os.File) error {
	supers, err := btrfs.Supers(f)
	if err != nil {
		return err
	}
	for _, uuid := range supers {
		if _, err := btrfs.WipeSupers(f, uuid); err != nil {
			return err
		}
	}
	if _, err := f.WriteAt(make([]byte, 4096), 1<<20); err != nil { // VMFS
		return err
	}
	if err := zeroEnds(f); err != nil {
		return err
	}
	if parts, err := partitionsOf(f); err != nil || !parts {
		return err
	}
	if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0); err != nil {
		return fmt.Errorf("cannot make the kernel forget its partitions: %w", err)
	}
	return nil
}

// zeroEnds overwrites the first and the last MiB.
func zeroEnds(f *os.File) error {
	size, err := deviceSize(f)
	if err != nil {
		return err
	}
	zeros := make([]byte, endSize)
	for _, at := range []int64{max(0, size-endSize), 0} {
		if _, err := f.WriteAt(zeros[:min(endSize, size)], at); err != nil {
			return err
		}
	}
	return f.Sync()
}
