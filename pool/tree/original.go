package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const (
	// dirOriginals is the directory of the original files of images, below dirOwn: FINGERPRINT/metadata and so on, each
	// image's in a subvolume. Most
	// images have none, since what was unpacked is enough to run them.
	dirOriginals = "originals"
	// entryOriginals is the directory of them in a stage's entry: a subvolume.
	entryOriginals = "originals"
)

// The files that an image is made of, as they came: the archive with metadata.yaml, that of the root or its squashfs, or the
// one archive that holds both. Their bytes in that order make the fingerprint.
const (
	OriginalMetadata = "metadata"
	OriginalRootfs   = "rootfs"
	OriginalUnified  = "unified"
)

func originalNames() []string { return []string{OriginalMetadata, OriginalRootfs, OriginalUnified} }

func (t *Tree) originals(fingerprint string) string {
	return filepath.Join(t.mnt, dirOwn, dirOriginals, fingerprint)
}

// Original makes an empty file, open for reading and writing, for one of the staged image's original files. What is there
// when the stage is committed is kept with the image, until it is deleted. A second one of that name replaces the first.
func (s *Stage) Original(name string) (*os.File, error) {
	f, err := s.original(name)
	if err != nil {
		return nil, fmt.Errorf("cannot keep the image's file %q: %w", name, err)
	}
	return f, nil
}

func (s *Stage) original(name string) (*os.File, error) {
	if !slices.Contains(originalNames(), name) {
		return nil, errors.New("there is no such file")
	}
	// A subvolume, so that what they take is counted as the image's.
	dir := s.entry.Path(entryOriginals)
	there, err := exists(dir)
	if err == nil && !there {
		err = btrfs.CreateSubvolume(dir)
	}
	if err == nil && !there {
		err = os.Chmod(dir, 0o700)
	}
	if err != nil {
		return nil, err
	}
	if err := s.dropOriginal(name); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
}

// OpenOriginal opens what Original made for reading.
func (s *Stage) OpenOriginal(name string) (*os.File, error) {
	return openPlain(filepath.Join(s.entry.Path(entryOriginals), name))
}

// ExchangeOriginals gives each of two files that Original made the other's name.
func (s *Stage) ExchangeOriginals(a, b string) error {
	dir := s.entry.Path(entryOriginals)
	err := unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, a), unix.AT_FDCWD, filepath.Join(dir, b), unix.RENAME_EXCHANGE)
	if err != nil {
		return fmt.Errorf("cannot keep the image's files: %w", err)
	}
	return nil
}

// DropOriginal takes back what Original made. What is not there is no error.
func (s *Stage) DropOriginal(name string) error {
	if err := s.dropOriginal(name); err != nil {
		return fmt.Errorf("cannot remove the image's file %q: %w", name, err)
	}
	return nil
}

func (s *Stage) dropOriginal(name string) error {
	err := os.Remove(filepath.Join(s.entry.Path(entryOriginals), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// OpenOriginal opens one of an image's original files for reading; fs.ErrNotExist when it was not kept.
func (t *Tree) OpenOriginal(fingerprint, name string) (*os.File, error) {
	if err := ValidateFingerprint(fingerprint); err != nil {
		return nil, err
	}
	return openPlain(filepath.Join(t.originals(fingerprint), name))
}

// openPlain opens a regular file for reading.
func openPlain(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("it is not a regular file")}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Originals lists which of its original files an image has here.
func (t *Tree) Originals(fingerprint string) ([]string, error) {
	names, err := readNames(t.originals(fingerprint))
	slices.Sort(names)
	return names, err
}

// DropOriginals deletes the original files of an image. What is not there is no error.
func (t *Tree) DropOriginals(ctx context.Context, fingerprint string) error {
	if err := ValidateFingerprint(fingerprint); err != nil {
		return err
	}
	return discard(ctx, t.originals(fingerprint))
}

// placeOriginals moves the files of a stage to the others; again after a kill, it does nothing.
func (t *Tree) placeOriginals(e *journal.Entry, fingerprint string) error {
	there, err := exists(e.Path(entryOriginals))
	if err != nil || !there {
		return err
	}
	to := t.originals(fingerprint)
	if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Those that a torn deletion left.
	if err := discard(context.Background(), to); err != nil {
		return err
	}
	err = renameNew(e.Path(entryOriginals), to)
	crash.Point("tree.commit.originals")
	return err
}

// sweepOriginals deletes the files of images that are not there.
func (t *Tree) sweepOriginals(ctx context.Context) error {
	names, err := readNames(filepath.Join(t.mnt, dirOwn, dirOriginals))
	if err != nil {
		return err
	}
	for _, name := range names {
		there, err := exists(t.ImagePath(name))
		if err == nil && !there {
			err = discard(ctx, t.originals(name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
