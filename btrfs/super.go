package btrfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotBtrfs says that a file or device holds no btrfs file system.
var ErrNotBtrfs = errors.New("it holds no btrfs file system")

const (
	superOffset = 64 << 10 // BTRFS_SUPER_INFO_OFFSET
	superSize   = 4096     // BTRFS_SUPER_INFO_SIZE
	superMagic  = "_BHRfS_M"
)

// Checksum types (enum btrfs_csum_type in include/uapi/linux/btrfs_tree.h).
const (
	csumCRC32C = 0
	csumSHA256 = 2
	csumLast   = 3
)

// compatROBlockGroupTree is BTRFS_FEATURE_COMPAT_RO_BLOCK_GROUP_TREE.
const compatROBlockGroupTree = 1 << 3

// Super is what the superblock says of a file system.
type Super struct {
	UUID                 string
	Label                string
	TotalBytes           uint64 // of all devices
	BytesUsed            uint64
	Sectorsize, Nodesize uint32 // bytes
	Generation           uint64
	NumDevices           uint64
	// LogRoot is where the log tree is, which has what was synced (fsync(2)) since
	// the last commit; 0 when there is none, as after an unmount.
	LogRoot uint64
	// Features that a kernel has to know, to mount it read-write at all and
	// to mount it: BTRFS_FEATURE_COMPAT_RO_*, BTRFS_FEATURE_INCOMPAT_*.
	CompatRO, Incompat uint64
}

// incompatSimpleQuota is BTRFS_FEATURE_INCOMPAT_SIMPLE_QUOTA.
const incompatSimpleQuota = 1 << 16

// SimpleQuotas says that the file system has, or had, simple quotas: kernels
// before Linux 6.7 cannot mount it, btrfs-progs before 6.7 cannot check it.
func (s Super) SimpleQuotas() bool { return s.Incompat&incompatSimpleQuota != 0 }

// ReadSuper reads the primary superblock, at 64 KiB, of a file or device, and
// verifies its checksum where that is crc32c (the default) or sha256. It
// returns ErrNotBtrfs when there is none, and another error when there is one
// that is damaged. Of a mounted file system it is that of some last commit.
func ReadSuper(path string) (Super, error) {
	s, err := readSuper(path)
	if err != nil {
		return Super{}, fmt.Errorf("cannot read the superblock of %s: %w", path, err)
	}
	return s, nil
}

func readSuper(path string) (_ Super, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe must not block
	if err != nil {
		var pathErr *os.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err // the caller names the path
		}
		return Super{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fi, err := f.Stat()
	if err != nil {
		return Super{}, err
	}
	if kind := fi.Mode().Type(); kind != 0 && kind != os.ModeDevice {
		return Super{}, fmt.Errorf("%w: it is neither a file nor a block device", ErrNotBtrfs)
	}
	// A mounted file system may write it just now: then a second look is good.
	for try := 0; ; try++ {
		s, err := readSuperAt(f)
		if !errors.Is(err, errChecksum) || try == 3 {
			return s, err
		}
		time.Sleep(time.Millisecond)
	}
}

func readSuperAt(f io.ReaderAt) (Super, error) {
	block := make([]byte, superSize)
	_, err := f.ReadAt(block, superOffset)
	if errors.Is(err, io.EOF) {
		return Super{}, fmt.Errorf("%w: it ends before one's superblock does", ErrNotBtrfs)
	} else if err != nil {
		return Super{}, err
	}
	return parseSuper(block)
}

var errChecksum = errors.New("its checksum is wrong: the file system is damaged")

// parseSuper reads struct btrfs_super_block (include/uapi/linux/btrfs_tree.h).
func parseSuper(b []byte) (Super, error) { return parseSuperAt(b, superOffset) }

// putFeatures adds incompatible features to a superblock with a crc32c.
func putFeatures(b []byte, bits uint64) {
	binary.LittleEndian.PutUint64(b[188:], binary.LittleEndian.Uint64(b[188:])|bits)
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[32:], crc32.MakeTable(crc32.Castagnoli)))
}

// parseSuperAt reads the superblock, or its copy, that belongs at a place.
func parseSuperAt(b []byte, place uint64) (Super, error) {
	if len(b) != superSize || string(b[64:72]) != superMagic {
		return Super{}, ErrNotBtrfs
	}
	le := binary.LittleEndian
	switch csum := le.Uint16(b[196:]); {
	case csum == csumCRC32C:
		if le.Uint32(b) != crc32.Checksum(b[32:], crc32.MakeTable(crc32.Castagnoli)) {
			return Super{}, errChecksum
		}
	case csum == csumSHA256:
		if sum := sha256.Sum256(b[32:]); !bytes.Equal(b[:32], sum[:]) {
			return Super{}, errChecksum
		}
	case csum > csumLast:
		return Super{}, fmt.Errorf("unknown checksum type %d", csum)
	}
	if at := le.Uint64(b[48:]); at != place {
		return Super{}, fmt.Errorf("it says that it belongs at byte %d", at)
	}
	s := Super{
		UUID:       formatUUID([16]byte(b[32:])),
		Generation: le.Uint64(b[72:]),
		LogRoot:    le.Uint64(b[96:]),
		TotalBytes: le.Uint64(b[112:]),
		BytesUsed:  le.Uint64(b[120:]),
		NumDevices: le.Uint64(b[136:]),
		Sectorsize: le.Uint32(b[144:]),
		Nodesize:   le.Uint32(b[148:]),
		CompatRO:   le.Uint64(b[180:]),
		Incompat:   le.Uint64(b[188:]),
		Label:      unix.ByteSliceToString(b[299 : 299+labelSize]),
	}
	if !validSize(s.Sectorsize) || !validSize(s.Nodesize) || s.Nodesize < s.Sectorsize || s.NumDevices == 0 {
		return Super{}, fmt.Errorf("it makes no sense: sector size %d, node size %d, %d devices", s.Sectorsize, s.Nodesize, s.NumDevices)
	}
	return s, nil
}

// validSize says whether a sector or node size is one that btrfs can have.
func validSize(n uint32) bool {
	return n >= 4096 && n <= 65536 && n&(n-1) == 0
}
