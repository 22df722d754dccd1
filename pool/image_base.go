package pool

import (
	"strings"

	"poolctl/btrfs"
	"poolctl/images"
	"poolctl/pool/tree"
)

// likeness is what is known of an image that is to come.
type likeness struct {
	source     *tree.ImageSource // nil for one that is imported
	arch       string            // by the kernel's name; "" = what metadata.yaml says
	properties map[string]string // os, release, variant; nil = those of metadata.yaml
}

// baseChooser says to the unpacker (images.Request.Base) which image of the pool
// a new one shares equal files with: another version of the same one, else another
// variant, else another release. Several that are equally near: the newest.
func baseChooser(t *tree.Tree, like likeness) func(*images.Metadata) string {
	return func(m *images.Metadata) string {
		if m != nil && like.properties == nil {
			like.properties = m.Properties
		}
		if m != nil && like.arch == "" {
			like.arch = m.Architecture
		}
		all, err := t.Images()
		if err != nil {
			return "" // then all is written; what is wrong with the pool shows elsewhere
		}
		var best tree.ImageRecord
		most := 0
		for _, im := range all {
			if n := like.nearness(im); n > most || n > 0 && n == most && im.CreatedAt.After(best.CreatedAt) {
				best, most = im, n
			}
		}
		if most == 0 {
			return ""
		}
		dir := t.ImagePath(best.Fingerprint)
		if fixed, err := btrfs.IsReadOnly(dir); err != nil || !fixed {
			return "" // what is compared must not change before it is cloned
		}
		return dir
	}
}

// nearness says how much an image is like this one, 0 for not at all.
func (l likeness) nearness(im tree.ImageRecord) int {
	if im.Type == "virtual-machine" || l.arch == "" || im.Architecture != l.arch {
		return 0
	}
	if s := im.Source; l.source != nil && s != nil && s.Server == l.source.Server && s.Alias == l.source.Alias {
		return 8
	}
	same := func(key string) bool { return strings.EqualFold(l.properties[key], im.Properties[key]) }
	if l.properties["os"] == "" || !same("os") {
		return 0
	}
	n := 1
	if same("release") {
		n += 4
	}
	if same("variant") {
		n += 2
	}
	return n
}
