package journal

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/pool/crash"
)

const (
	intentFile = "intent.json"
	// newPrefix marks an entry that Begin has not finished making.
	newPrefix = ".new-"
	// maxIntent bounds how much of an intent.json is read, in bytes.
	maxIntent = 1 << 20
	// attempts bounds how often Begin starts again because a Recover took the directory before it was locked.
	attempts = 100
)

// intent is the content of intent.json.
type intent struct {
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args,omitempty"`
}

// Entry is one intent, held by this process until Done or Close. It is for one goroutine at a time.
type Entry struct {
	path   string
	lock   *os.File // the directory itself; its flock is the ownership
	intent intent
}

// Begin makes an entry in the journal dir (made 0700 when it is not there) for the operation op, with args as any value
// that encoding/json takes. The intent is on disk when Begin returns.
func Begin(ctx context.Context, dir, op string, args any) (*Entry, error) {
	return begin(ctx, dir, op, args, true)
}

// BeginUnsynced is Begin without the fsync: a kill finds the intent, a power cut may find none, or an empty one, in an
// entry that exists. Recover hands such an entry to the handler "".
func BeginUnsynced(ctx context.Context, dir, op string, args any) (*Entry, error) {
	return begin(ctx, dir, op, args, false)
}

func begin(ctx context.Context, dir, op string, args any, sync bool) (_ *Entry, err error) {
	if op == "" {
		return nil, errors.New("cannot begin a journal entry: no operation given")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	data, err := encode(op, args)
	if err != nil {
		return nil, fmt.Errorf("cannot begin %s: %w", op, err)
	}
	e, id, err := makeLocked(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("cannot begin %s: %w", op, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.discard())
		}
	}()
	crash.Point("journal.begin.made")
	if err := writeIntent(filepath.Join(e.path, intentFile), data.raw, sync); err != nil {
		return nil, fmt.Errorf("cannot begin %s: %w", op, err)
	}
	crash.Point("journal.begin.written")
	final := filepath.Join(dir, id)
	if err := os.Rename(e.path, final); err != nil {
		return nil, fmt.Errorf("cannot begin %s: %w", op, err)
	}
	e.path, e.intent = final, data.intent
	if sync {
		if err := errors.Join(e.lock.Sync(), syncDir(dir)); err != nil {
			return nil, fmt.Errorf("cannot begin %s: %w", op, err)
		}
	}
	crash.Point("journal.begin.done")
	return e, nil
}

// encoded is an intent together with its bytes.
type encoded struct {
	intent intent
	raw    []byte
}

func encode(op string, args any) (encoded, error) {
	in := intent{Op: op}
	if args != nil {
		raw, err := json.Marshal(args)
		if err != nil {
			return encoded{}, err
		}
		in.Args = raw
	}
	raw, err := json.Marshal(in)
	if err == nil && len(raw) >= maxIntent {
		err = fmt.Errorf("intent of %d bytes is over the limit of %d", len(raw), maxIntent)
	}
	return encoded{in, append(raw, '\n')}, err
}

// makeLocked makes a directory ".new-ID" and takes its flock. A Recover of another process may take the flock of the
// directory in between, and remove it: then another one is made.
func makeLocked(ctx context.Context, dir string) (*Entry, string, error) {
	for range attempts {
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		id := newID()
		path := filepath.Join(dir, newPrefix+id)
		err := os.Mkdir(path, 0o700)
		if errors.Is(err, fs.ErrNotExist) {
			if err = os.MkdirAll(dir, 0o700); err == nil {
				err = os.Mkdir(path, 0o700)
			}
		}
		if err != nil {
			return nil, "", err
		}
		crash.Point("journal.begin.mkdir")
		lock, err := tryLock(path)
		if err != nil {
			return nil, "", err
		}
		if lock != nil {
			return &Entry{path: path, lock: lock}, id, nil
		}
	}
	return nil, "", fmt.Errorf("other processes took %d new entries in %s", attempts, dir)
}

// tryLock opens the directory at path and takes its flock. It returns nil without an error when another process holds
// the lock, or the directory is gone or no longer the one that path names.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, f.Close()
	} else if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot lock %s: %w", path, err), f.Close())
	}
	held, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	named, err := os.Lstat(path)
	if err == nil && os.SameFile(held, named) {
		return f, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return nil, errors.Join(err, f.Close())
}

// Dir is the entry's directory: what the operation stages goes below it. The name intent.json is taken.
func (e *Entry) Dir() string { return e.path }

// Path joins name to Dir.
func (e *Entry) Path(name string) string { return filepath.Join(e.path, name) }

// ID is the entry's name in the journal.
func (e *Entry) ID() string { return filepath.Base(e.path) }

// Op is the operation that Begin was given; "" in a Recover handler of an entry without a readable intent.
func (e *Entry) Op() string { return e.intent.Op }

// Args decodes what Begin or the last Update was given into v. Unknown fields are refused: an intent of a newer version
// must not be half understood.
func (e *Entry) Args(v any) error {
	dec := json.NewDecoder(bytes.NewReader(e.intent.Args))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("cannot read the arguments of %s: %w", e.path, err)
	}
	return nil
}

// Update replaces the arguments, atomically, and makes the entry durable, also one of BeginUnsynced.
func (e *Entry) Update(args any) error {
	data, err := encode(e.intent.Op, args)
	if err != nil {
		return fmt.Errorf("cannot update %s: %w", e.path, err)
	}
	next := e.Path(intentFile + ".new")
	if err := writeIntent(next, data.raw, true); err != nil {
		return fmt.Errorf("cannot update %s: %w", e.path, err)
	}
	crash.Point("journal.update.written")
	if err := os.Rename(next, e.Path(intentFile)); err != nil {
		return fmt.Errorf("cannot update %s: %w", e.path, err)
	}
	e.intent = data.intent
	if err := errors.Join(e.lock.Sync(), syncDir(filepath.Dir(e.path))); err != nil {
		return fmt.Errorf("cannot update %s: %w", e.path, err)
	}
	crash.Point("journal.update.done")
	return nil
}

// Done removes the entry and drops its lock. Everything the operation staged must be gone: an entry that still holds
// something stays, with its intent, and the error says so.
func (e *Entry) Done() error {
	names, err := readNames(e.path)
	if err != nil {
		return errors.Join(fmt.Errorf("cannot end %s: %w", e.path, err), e.Close())
	}
	for _, name := range names {
		if !OwnFile(name) {
			return errors.Join(fmt.Errorf("cannot end %s: %s is still in it", e.path, name), e.Close())
		}
	}
	return e.discard()
}

// discard removes the intent and the directory and drops the lock.
func (e *Entry) discard() error {
	var errs []error
	for _, name := range []string{intentFile + ".new", intentFile} {
		if err := os.Remove(e.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	crash.Point("journal.done.intent")
	if err := os.Remove(e.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, e.Close())...)
}

// Close drops the lock and leaves the entry where it is: the next Recover takes it. Closing twice does nothing.
func (e *Entry) Close() error {
	if e.lock == nil {
		return nil
	}
	lock := e.lock
	e.lock = nil
	return lock.Close()
}

// OwnFile says whether name is one of the files that the journal itself keeps in an entry's directory.
func OwnFile(name string) bool { return strings.TrimSuffix(name, ".new") == intentFile }

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return hex.EncodeToString(b[:])
}
