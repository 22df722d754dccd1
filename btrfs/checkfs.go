package btrfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrCheckTooOld says that the btrfs-progs here do not know a feature of a file
// system.
var ErrCheckTooOld = errors.New("btrfs-progs here is too old for a feature that it has")

// CheckError says that btrfs-check(8) found something.
type CheckError struct {
	Output string // what it wrote, for people
}

// Error implements error.
func (e *CheckError) Error() string { return "btrfs check found errors" }

// CheckFilesystem runs btrfs-check(8), read-only, on the unmounted file system in a
// file or on a device. What it finds is a *CheckError. ErrCheckTooOld, and
// exec.ErrNotFound where there is no btrfs(8), say that it was not checked.
func CheckFilesystem(ctx context.Context, path string) error {
	err := checkFilesystem(ctx, path)
	if err != nil {
		return fmt.Errorf("cannot check %s: %w", path, err)
	}
	return nil
}

func checkFilesystem(ctx context.Context, path string) error {
	program, err := findProgram("btrfs")
	if err != nil {
		return err
	}
	super, err := ReadSuper(path)
	if err != nil {
		return err
	}
	known, err := knowsFeatures(ctx, program, super.Incompat)
	if err != nil {
		return err
	}
	if !known {
		return ErrCheckTooOld
	}
	out, err := exec.CommandContext(ctx, program, "check", "--readonly", path).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit):
		return &CheckError{Output: strings.TrimSpace(string(out))}
	}
	return err
}

// oldFeatures are the incompatible features that btrfs-progs has known since 5.15:
// up to BTRFS_FEATURE_INCOMPAT_ZONED, without EXTENT_TREE_V2.
const oldFeatures = 1<<13 - 1

// knowsFeatures says whether the program opens file systems with these
// incompatible features. Its version does not tell, as distributions change what
// is in one, so it is asked: by a small new file system that is said to have them.
func knowsFeatures(ctx context.Context, program string, incompat uint64) (bool, error) {
	if incompat&^oldFeatures == 0 {
		return true, nil
	}
	dir, err := os.MkdirTemp("", "poolctl-check.")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	probe := filepath.Join(dir, "probe")
	f, err := os.OpenFile(probe, os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	if err == nil {
		err = errors.Join(f.Truncate(MinSize), Mkfs(ctx, probe, f, MkfsOptions{}), f.Close())
	}
	if err == nil {
		err = addFeatures(probe, incompat&^oldFeatures)
	}
	if err != nil {
		return false, err
	}
	err = exec.CommandContext(ctx, program, "check", "--readonly", probe).Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// addFeatures sets bits of the superblock's incompatible features, in the first
// superblock and in the copy that a small file has.
func addFeatures(path string, bits uint64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for _, at := range superOffsets {
		block := make([]byte, superSize)
		if n, err := f.ReadAt(block, at); n < superSize {
			if at == superOffset {
				return err
			}
			break // the file ends before
		}
		putFeatures(block, bits)
		if _, err := f.WriteAt(block, at); err != nil {
			return err
		}
	}
	return nil
}

// CheckSupers verifies the copies of the superblock of the file system in a file
// or on a device, of which it says that it uses size bytes, and returns what is
// wrong with them. The first superblock is ReadSuper's business.
func CheckSupers(path string, size uint64) ([]string, error) {
	first, err := ReadSuper(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var problems []string
	for _, at := range superOffsets[1:] {
		if uint64(at)+superSize > size {
			break
		}
		block := make([]byte, superSize)
		if _, err := f.ReadAt(block, at); err != nil {
			problems = append(problems, fmt.Sprintf("the superblock at byte %d cannot be read: %s", at, err))
			continue
		}
		s, err := parseSuperAt(block, uint64(at))
		switch {
		case err != nil && !bytes.Equal(block, make([]byte, superSize)):
			problems = append(problems, fmt.Sprintf("the superblock at byte %d is damaged: %s", at, err))
		case err != nil:
			problems = append(problems, fmt.Sprintf("there is no superblock at byte %d", at))
		case s.UUID != first.UUID:
			problems = append(problems, fmt.Sprintf("the superblock at byte %d is of another file system: %s", at, s.UUID))
		}
	}
	return problems, nil
}
