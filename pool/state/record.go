package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"poolctl/pool/crash"
)

const (
	// maxRecord bounds how much of a record is read, in bytes.
	maxRecord = 4 << 20
	// staleAfter is how old a temporary file of a killed command must be before a save into its directory removes it.
	staleAfter = time.Hour
	suffix     = ".json"
	// linkedMark is what a temporary file that its writer holds locked has between suffix and its digits.
	linkedMark = "~"
)

// LoadJSON reads the JSON file at path into v. A file that is not there is fs.ErrNotExist; one that is damaged, larger
// than 4 MiB or not a regular file is an error that names it.
func LoadJSON(path string, v any) error {
	// O_NONBLOCK: a fifo in the place of a record must not hang the command.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("cannot read %s: it is not a regular file", path)
	}
	var raw []byte
	if err == nil {
		raw, err = io.ReadAll(io.LimitReader(f, maxRecord+1))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if len(raw) > maxRecord {
		return fmt.Errorf("cannot read %s: it is larger than %d bytes", path, maxRecord)
	}
	if err := decode(raw, v); err != nil {
		return fmt.Errorf("cannot read %s: the file is damaged: %w", path, err)
	}
	return nil
}

// decode is json.Unmarshal, with an empty file named as such.
func decode(raw []byte, v any) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		return errors.New("it is empty")
	}
	return json.Unmarshal(raw, v)
}

// SaveJSON replaces the file at path (mode 0600) by v as indented JSON: an unnamed temporary file is written and fsynced,
// linked and renamed over it, and the directory is fsynced. A reader sees the old content or the new one. What a process
// killed between the link and the rename leaves is removed by the next command (removeStale).
func SaveJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = replaceFile(path, append(raw, '\n'))
	}
	if err == nil {
		crash.Point("state.save.renamed")
		err = errors.Join(removeStale(filepath.Dir(path)), syncDir(filepath.Dir(path)))
	}
	if err != nil {
		return fmt.Errorf("cannot save %s: %w", path, err)
	}
	return nil
}

// replaceFile writes data to a file without a name (open(2), O_TMPFILE), which then takes the place of path. While it has a
// name of its own, ".NAME.json~DIGITS", this process holds its lock (flock(2)). A file system that has no such files gets a
// temporary file with a name from the start.
func replaceFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
	} else if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return os.NewSyscallError("flock", err)
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	crash.Point("state.save.written")
	temporary := filepath.Join(dir, "."+filepath.Base(path)+linkedMark+strconv.FormatUint(uint64(rand.Uint32()), 10))
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, temporary, unix.AT_SYMLINK_FOLLOW); err != nil {
		return err
	}
	crash.Point("state.save.linked")
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return nil
}

// removeStale removes the temporary files that killed commands left in dir: ".NAME.json~DIGITS" when nobody holds its lock,
// and ".NAME.jsonDIGITS", as renameio names them, when it is older than staleAfter.
func removeStale(dir string) error {
	all, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range all {
		stem, digits, found := strings.Cut(entry.Name(), suffix)
		digits, linked := strings.CutPrefix(digits, linkedMark)
		if !found || !strings.HasPrefix(stem, ".") || digits == "" || strings.Trim(digits, "0123456789") != "" {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		stale := false
		if linked {
			stale, err = abandoned(path)
		} else if info, statErr := entry.Info(); statErr != nil {
			err = statErr
		} else {
			stale = info.Mode().IsRegular() && time.Since(info.ModTime()) > staleAfter
		}
		if err == nil && stale {
			err = os.Remove(path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// abandoned says whether the process that made the temporary file at path has ended: its lock is free. A process that is
// alive holds it until the file has its final name, so the name that is then removed is no longer in use.
func abandoned(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return false, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// deleteFile removes the record at path, durably.
func deleteFile(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// listNames lists the records in dir by name, sorted.
func listNames(dir string) ([]string, error) {
	all, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, entry := range all {
		name, found := strings.CutSuffix(entry.Name(), suffix)
		if found && checkName(name) == nil && !entry.IsDir() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// syncDir makes the names in dir durable (fsync(2) on the directory).
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
