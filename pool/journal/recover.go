package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Handler finishes or undoes the operation of an entry whose owner is gone. It must be idempotent, since it may be killed
// as well, and it must leave nothing in the entry's directory but the journal's own files. It must not call Done or Close.
type Handler = func(ctx context.Context, e *Entry) error

// Recover gives every entry of the journal dir that no process holds to the handler of its operation, and removes it when
// the handler is content. The handler "" gets the entries without a readable intent: their owner was killed while it made
// them, or a power cut tore them. A dir that does not exist is an empty journal.
//
// An entry that cannot be recovered (no handler, or the handler fails) stays for the next call; the others are still
// recovered, and all errors are returned together.
func Recover(ctx context.Context, dir string, handlers map[string]Handler) error {
	names, err := readNames(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("cannot read the journal %s: %w", dir, err)
	}
	var errs []error
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := recoverEntry(ctx, filepath.Join(dir, name), handlers); err != nil {
			errs = append(errs, fmt.Errorf("cannot recover %s: %w", filepath.Join(dir, name), err))
		}
	}
	return errors.Join(errs...)
}

func recoverEntry(ctx context.Context, path string, handlers map[string]Handler) error {
	lock, err := tryLock(path)
	if err != nil || lock == nil {
		return err
	}
	e := &Entry{path: path, lock: lock}
	e.intent, err = readIntent(filepath.Join(path, intentFile))
	if err != nil {
		return errors.Join(err, e.Close())
	}
	if strings.HasPrefix(filepath.Base(path), newPrefix) {
		// Begin did not finish: no step was taken.
		return e.Done()
	}
	handle, known := handlers[e.intent.Op]
	if !known {
		return errors.Join(fmt.Errorf("nothing here knows the operation %q", e.intent.Op), e.Close())
	}
	if err := handle(ctx, e); err != nil {
		return errors.Join(err, e.Close())
	}
	return e.Done()
}

// readIntent reads an intent.json. One that is missing or torn (it does not parse) is the zero intent; an error is one of
// the file system.
func readIntent(path string) (intent, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return intent{}, nil
	} else if errors.Is(err, unix.ELOOP) { // writeIntent had no room for a file
		raw, err := os.Readlink(path)
		if err != nil {
			return intent{}, err
		}
		return parseIntent([]byte(raw)), nil
	} else if err != nil {
		return intent{}, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxIntent))
	if err := errors.Join(err, f.Close()); err != nil {
		return intent{}, err
	}
	return parseIntent(raw), nil
}

func parseIntent(raw []byte) intent {
	var in intent
	if err := json.Unmarshal(raw, &in); err != nil {
		return intent{}
	}
	return in
}

// readNames lists dir without sorting or looking at what is in it.
func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	return names, errors.Join(err, f.Close())
}

// writeIntent writes an intent as a new file at path. In a file system that is full to the last block it becomes the target
// of a symbolic link, which nobody follows: btrfs keeps that in its metadata, where there is nearly always room left. What
// makes room, such as a deletion, needs an intent as well.
func writeIntent(path string, data []byte, sync bool) error {
	err := writeFile(path, data, sync)
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	if rerr := os.Remove(path); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		return errors.Join(err, rerr)
	}
	if os.Symlink(strings.TrimSuffix(string(data), "\n"), path) != nil {
		return err
	}
	return nil
}

// writeFile writes a new file at path, or replaces what a killed predecessor left there, and fsyncs it if sync.
func writeFile(path string, data []byte, sync bool) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes the names in dir durable (fsync(2) on the directory).
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
