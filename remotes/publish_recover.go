package remotes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

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
