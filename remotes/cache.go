package remotes

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// Leftovers in the cache directory are removed after these times: temporary
// files of a writer that was killed, and entries that nobody asked for.
const (
	tempAge   = time.Hour
	unusedAge = 90 * 24 * time.Hour
)

// cache keeps documents of one remote in a directory, each in one file: a line
// of JSON (cacheHeader), then the document. A file is written aside, synced and
// renamed; its modification time is when the server last confirmed it. With no
// directory it keeps nothing.
type cache struct{ dir string }

// cacheHeader describes the document that follows it.
type cacheHeader struct {
	Version      int    `json:"version"`
	URL          string `json:"url"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
	SHA256       string `json:"sha256"`
	Size         int    `json:"size"`
}

// cacheVersion is the form of the files.
const cacheVersion = 1

// entry is a cached document.
type entry struct {
	cacheHeader
	body    []byte
	checked time.Time
}

// fresh tells whether the entry needs no check with the server. One from the
// future (the clock was set back) does.
func (e *entry) fresh(expiry time.Duration) bool {
	age := time.Since(e.checked)
	return age >= 0 && age < expiry
}

func (c cache) path(url string) string {
	sum := sha256.Sum256([]byte(url))
	return filepath.Join(c.dir, hex.EncodeToString(sum[:16])+".cache")
}

// read gives the cached document of a URL; nil when there is none, or it is
// damaged, or of another form.
func (c cache) read(url string) *entry {
	if c.dir == "" {
		return nil
	}
	f, err := os.Open(c.path(url))
	if err != nil {
		return nil
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(f, maxDocument+8192))
	if err != nil {
		return nil
	}
	e, err := parseEntry(data)
	if err != nil || e.URL != url {
		return nil
	}
	e.checked = fi.ModTime()
	return e
}

// parseEntry splits a cache file and checks it against its header.
func parseEntry(data []byte) (*entry, error) {
	head, body, ok := bytes.Cut(data, []byte("\n"))
	if !ok {
		return nil, errors.New("it has no header")
	}
	e := &entry{body: body}
	if err := json.Unmarshal(head, &e.cacheHeader); err != nil {
		return nil, fmt.Errorf("cannot read its header: %w", err)
	}
	sum := sha256.Sum256(body)
	if e.Version != cacheVersion || e.Size != len(body) || e.SHA256 != hex.EncodeToString(sum[:]) {
		return nil, errors.New("it is damaged")
	}
	return e, nil
}

// write stores a document that the server has just given.
func (c cache) write(e *entry) (err error) {
	if c.dir == "" {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot cache %s: %w", e.URL, err)
		}
	}()
	sum := sha256.Sum256(e.body)
	e.Version, e.Size, e.SHA256 = cacheVersion, len(e.body), hex.EncodeToString(sum[:])
	head, err := json.Marshal(e.cacheHeader)
	if err != nil {
		return err
	}
	if err := c.prepare(c.path(e.URL)); err != nil {
		return err
	}
	c.clean()
	data := append(append(head, '\n'), e.body...)
	return renameio.WriteFile(c.path(e.URL), data, 0o600, renameio.WithTempDir(c.dir), renameio.IgnoreUmask())
}

// prepare makes the directory for a file of it, and takes away what is in the way: a link that leads nowhere, or a file, where
// the directory has to be, and a directory where the file has to be.
func (c cache) prepare(file string) error {
	if info, err := os.Stat(c.dir); err != nil || !info.IsDir() {
		if err := os.Remove(c.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	if info, err := os.Lstat(file); err == nil && info.IsDir() {
		return os.RemoveAll(file)
	}
	return nil
}

// confirm notes that the server says an entry is still good.
func (c cache) confirm(url string) error {
	if c.dir == "" {
		return nil
	}
	now := time.Now()
	if err := os.Chtimes(c.path(url), now, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot cache %s: %w", url, err)
	}
	return nil
}

// clean removes leftovers. What cannot be removed stays: it does no harm.
func (c cache) clean() {
	files, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	for _, f := range files {
		name := f.Name()
		age := unusedAge
		switch {
		case strings.HasPrefix(name, "."): // renameio's temporary files
			age = tempAge
		case !strings.HasSuffix(name, ".cache"):
			continue
		}
		if fi, err := f.Info(); err == nil && fi.Mode().IsRegular() && time.Since(fi.ModTime()) > age {
			_ = os.Remove(filepath.Join(c.dir, name))
		}
	}
}
