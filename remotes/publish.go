package remotes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Names in a tree that is published.
const (
	publishedPath = "streams/v1/images.json"
	publishedKey  = "images"
	publishedDir  = "images"
	// ownDir is a directory in the tree that is no part of it: the lock, what is being
	// made, and pendingFile.
	ownDir      = ".poolctl"
	lockFile    = "lock"
	newDir      = "new"
	pendingFile = "pending.json"
)

// Publication is a directory that a static web server serves as a simplestreams
// remote, open for changes; one process at a time has it open.
//
// The order of writing keeps the tree valid at every moment, also when it is
// killed: the files of new versions are complete and synced before they get their
// names, the products file that names them follows, and the index is last. Files of
// versions that are pruned are removed after that. What a killed process leaves is
// in the directory .poolctl of the tree, where pending.json names the versions that
// it was about to add or remove: those that the catalogue does not name are removed
// by the next process that opens the tree.
//
// What others wrote is kept: other entries of the index, and other products and
// fields of the products file.
type Publication struct {
	dir      string
	step     func(name string)
	lock     *os.File
	index    map[string]json.RawMessage
	head     map[string]json.RawMessage // the products file but for the products
	products map[string]*publishedProduct
	// obsolete are the directories of versions that were pruned.
	obsolete []string
	pending  []string
	staged   int
}

// publishedProduct is a product with all fields that it had.
type publishedProduct struct {
	fields   map[string]json.RawMessage
	versions map[string]json.RawMessage
}

// OpenPublication opens the tree in dir, which is made when it is not there, and
// clears away what a killed process left. It waits for another that has it open.
// step, when not nil, is told the name of each step of a change when it is done.
func OpenPublication(ctx context.Context, dir string, step func(name string)) (*Publication, error) {
	p := &Publication{dir: dir, step: step}
	if step == nil {
		p.step = func(string) {}
	}
	err := p.open(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open the image tree %s: %w", dir, err), p.unlock())
	}
	return p, nil
}

func (p *Publication) open(ctx context.Context) error {
	if err := makeDirs(p.dir, ownDir); err != nil {
		return err
	}
	lock, err := os.OpenFile(p.own(lockFile), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	p.lock = lock
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		} else if !errors.Is(err, syscall.EWOULDBLOCK) {
			return os.NewSyscallError("flock", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := p.read(); err != nil {
		return err
	}
	return p.recover()
}

// makeDirs makes a directory below root with those above it, for everybody to read
// whatever the umask is.
func makeDirs(root, rel string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	path := root
	for part := range strings.SplitSeq(rel, "/") {
		path = filepath.Join(path, part)
		err := os.Mkdir(path, 0o755)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = os.Chmod(path, 0o755)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Publication) own(name string) string { return filepath.Join(p.dir, ownDir, name) }

func (p *Publication) unlock() error {
	if p.lock == nil {
		return nil
	}
	err := p.lock.Close()
	p.lock = nil
	return err
}

// read reads the index and the products file.
func (p *Publication) read() error {
	p.index, p.head, p.products = map[string]json.RawMessage{}, map[string]json.RawMessage{}, map[string]*publishedProduct{}
	if err := p.readJSON(indexPath, &p.index); err != nil {
		return err
	}
	if err := p.readJSON(publishedPath, &p.head); err != nil {
		return err
	}
	var products map[string]map[string]json.RawMessage
	if raw, ok := p.head["products"]; ok {
		if err := json.Unmarshal(raw, &products); err != nil {
			return fmt.Errorf("%s: %w", publishedPath, err)
		}
	}
	for id, fields := range products {
		prod := &publishedProduct{fields: fields, versions: map[string]json.RawMessage{}}
		if raw, ok := fields["versions"]; ok {
			if err := json.Unmarshal(raw, &prod.versions); err != nil {
				return fmt.Errorf("%s: product %q: %w", publishedPath, id, err)
			}
		}
		p.products[id] = prod
	}
	return nil
}

// readJSON reads a document of the tree; one that is not there leaves v as it is.
func (p *Publication) readJSON(path string, v any) error {
	raw, err := os.ReadFile(filepath.Join(p.dir, path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Close gives the tree up. What was added and not committed is removed.
func (p *Publication) Close() error {
	err := os.RemoveAll(p.own(newDir))
	if len(p.pending) > 0 {
		// What was added is not in the catalogue on disk, and what was pruned still is.
		err = errors.Join(err, p.read(), p.recover())
	}
	return errors.Join(err, p.unlock())
}
