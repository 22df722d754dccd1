package remotes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
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

// recover removes what a killed process left.
func (p *Publication) recover() error {
	if err := os.RemoveAll(p.own(newDir)); err != nil {
		return err
	}
	var pending []string
	if err := p.readJSON(ownDir+"/"+pendingFile, &pending); err != nil {
		return err
	}
	for _, dir := range pending {
		if err := p.removeVersion(dir); err != nil {
			return err
		}
	}
	return p.clearPending()
}

func (p *Publication) clearPending() error {
	p.pending = nil
	err := os.Remove(p.own(pendingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// intend notes that the directories of versions, which are in the tree or are not
// named by the catalogue, are to be removed by whoever finds the note.
func (p *Publication) intend(dirs ...string) error {
	p.pending = append(p.pending, dirs...)
	raw, err := json.Marshal(p.pending)
	if err != nil {
		return err
	}
	return p.write(ownDir+"/"+pendingFile, raw)
}

// removeVersion removes the directory of a version, unless the catalogue names a
// file in it, and those above it that are empty then.
func (p *Publication) removeVersion(dir string) error {
	if checkPath(dir) != nil || !strings.HasPrefix(dir, publishedDir+"/") || strings.Count(dir, "/") != 5 {
		return fmt.Errorf("%q is no directory of a version", dir)
	}
	if p.names(dir) {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(p.dir, dir)); err != nil {
		return err
	}
	dir = filepath.Dir(dir)
	for dir != publishedDir && os.Remove(filepath.Join(p.dir, dir)) == nil { // until one is not empty, or gone
		dir = filepath.Dir(dir)
	}
	return nil
}

// names says whether the catalogue names a file below dir.
func (p *Publication) names(dir string) bool {
	prefix, _ := json.Marshal(dir + "/") // a string always has a form
	prefix = bytes.TrimSuffix(prefix, []byte(`"`))
	for _, prod := range p.products {
		for _, v := range prod.versions {
			if bytes.Contains(compact(v), prefix) {
				return true
			}
		}
	}
	return false
}

func compact(raw json.RawMessage) []byte {
	var out bytes.Buffer
	if json.Compact(&out, raw) != nil {
		return raw
	}
	return out.Bytes()
}

// Commit makes the catalogue name what was added, and no more what was pruned, and
// removes the files of that. Documents that stay the same are not written.
func (p *Publication) Commit(ctx context.Context) error {
	if err := p.commit(ctx); err != nil {
		return fmt.Errorf("cannot write the image tree %s: %w", p.dir, err)
	}
	return nil
}

func (p *Publication) commit(ctx context.Context) error {
	if len(p.obsolete) > 0 {
		if err := p.intend(p.obsolete...); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := p.writeProducts(); err != nil {
		return err
	}
	p.step("remotes.publish.products")
	if err := p.writeIndex(); err != nil {
		return err
	}
	p.step("remotes.publish.index")
	for _, dir := range p.obsolete {
		if err := p.removeVersion(dir); err != nil {
			return err
		}
	}
	p.obsolete = nil
	return p.clearPending()
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

// writeProducts writes the products file.
func (p *Publication) writeProducts() error {
	products := map[string]map[string]json.RawMessage{}
	for id, prod := range p.products {
		if len(prod.versions) == 0 {
			continue
		}
		versions, err := json.Marshal(prod.versions)
		if err != nil {
			return err
		}
		prod.fields["versions"] = versions
		products[id] = prod.fields
	}
	set := func(key string, value any) error {
		raw, err := json.Marshal(value)
		p.head[key] = raw
		return err
	}
	err := errors.Join(set("products", products), set("format", "products:1.0"), set("datatype", dataType))
	if _, ok := p.head["content_id"]; !ok {
		err = errors.Join(err, set("content_id", publishedKey))
	}
	if err != nil {
		return err
	}
	return p.writeDocument(publishedPath, p.head)
}

// writeIndex writes the index, with the entry of the products file.
func (p *Publication) writeIndex() error {
	entries := map[string]map[string]json.RawMessage{}
	if raw, ok := p.index["index"]; ok {
		if err := json.Unmarshal(raw, &entries); err != nil {
			return fmt.Errorf("%s: %w", indexPath, err)
		}
	}
	key := publishedKey
	for k, e := range entries {
		var path string
		if json.Unmarshal(e["path"], &path) == nil && path == publishedPath {
			key = k
		}
	}
	entry := entries[key]
	if entry == nil {
		entry = map[string]json.RawMessage{}
		entries[key] = entry
	}
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(p.products)) {
		if len(p.products[id].versions) > 0 {
			ids = append(ids, id)
		}
	}
	if ids == nil {
		ids = []string{}
	}
	for k, v := range map[string]any{"datatype": dataType, "path": publishedPath, "format": "products:1.0", "products": ids} {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		entry[k] = raw
	}
	for k, v := range map[string]any{"index": entries, "format": "index:1.0"} {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		p.index[k] = raw
	}
	return p.writeDocument(indexPath, p.index)
}

// writeDocument replaces a document, unless it says the same already.
func (p *Publication) writeDocument(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	raw = append(raw, '\n')
	if have, err := os.ReadFile(filepath.Join(p.dir, path)); err == nil && bytes.Equal(have, raw) {
		return nil
	}
	return p.write(path, raw)
}

// write replaces a file by a rename of one that is synced.
func (p *Publication) write(path string, raw []byte) error {
	if err := makeDirs(p.dir, filepath.Dir(path)); err != nil {
		return err
	}
	temp := p.own("document")
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(temp, filepath.Join(p.dir, path))
	}
	if err == nil {
		err = syncDir(filepath.Dir(filepath.Join(p.dir, path)))
	}
	return err
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
