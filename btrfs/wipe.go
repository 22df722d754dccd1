package btrfs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// superOffsets are where a file system has its superblock and the copies of it
// (btrfs_sb_offset in fs/btrfs/volumes.h); those beyond the device's end are not there.
var superOffsets = []int64{superOffset, 64 << 20, 256 << 30}

// temporaryMagic is what mkfs.btrfs writes until all else is in place.
const temporaryMagic = "!BHRfS_M"

// NewUUID makes a random UUID for a file system that is to be known before it
// is there (MkfsOptions.UUID).
func NewUUID() string {
	var u [16]byte
	_, _ = rand.Read(u[:])                      // never fails (crypto/rand, Go 1.24)
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80 // version 4 (RFC 9562)
	return formatUUID(u)
}

// Supers lists the UUIDs of the superblocks in a file or device of any kind:
// the first one and its copies, damaged ones and those of an unfinished
// mkfs.btrfs too.
func Supers(f io.ReaderAt) ([]string, error) {
	var out []string
	err := eachSuper(f, func(_ int64, uuid string) error {
		out = append(out, uuid)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot look for superblocks: %w", err)
	}
	return out, nil
}

// WipeSupers overwrites with zeros the superblocks that the file system of that
// UUID has on a device, its copies and those of an unfinished mkfs.btrfs too, and
// says how many there were. Others stay. Called again it goes on.
func WipeSupers(f *os.File, uuid string) (wiped int, err error) {
	err = eachSuper(f, func(at int64, has string) error {
		if has != uuid {
			return nil
		}
		wiped++
		_, err := f.WriteAt(make([]byte, superSize), at)
		return err
	})
	if err == nil && wiped > 0 {
		err = f.Sync()
	}
	if err != nil {
		return wiped, fmt.Errorf("cannot wipe the superblocks of btrfs %s: %w", uuid, err)
	}
	return wiped, nil
}

// eachSuper goes through the superblocks, the first one last: who is interrupted
// while wiping them finds that again.
func eachSuper(f io.ReaderAt, do func(at int64, uuid string) error) error {
	block := make([]byte, superSize)
	for _, at := range slices.Backward(superOffsets) {
		_, err := f.ReadAt(block, at)
		if errors.Is(err, io.EOF) || errors.Is(err, unix.EINVAL) { // beyond the end
			continue
		} else if err != nil {
			return err
		}
		if magic := string(block[64:72]); magic != superMagic && magic != temporaryMagic {
			continue
		}
		if err := do(at, formatUUID([16]byte(block[32:]))); err != nil {
			return err
		}
	}
	return nil
}
