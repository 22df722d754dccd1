package remotes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

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
