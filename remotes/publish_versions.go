package remotes

import (
	"encoding/json"
	"slices"
	"strings"
)

// publishedItem is a file of a version.
type publishedItem struct {
	FType            string `json:"ftype"`
	Path             string `json:"path"`
	SHA256           string `json:"sha256"`
	Size             int64  `json:"size"`
	Combined         string `json:"combined_sha256,omitempty"`
	CombinedRootXZ   string `json:"combined_rootxz_sha256,omitempty"`
	CombinedSquashfs string `json:"combined_squashfs_sha256,omitempty"`
	CombinedDisk     string `json:"combined_disk-kvm-img_sha256,omitempty"`
	CombinedType     string `json:"combined_type,omitempty"`
}

type publishedVersion struct {
	Items map[string]publishedItem `json:"items"`
	// Source is PublishedImage.Source: clients ignore it.
	Source string `json:"source_fingerprint,omitempty"`
}

// Find says which product and version the image of that fingerprint is, or was
// made of.
func (p *Publication) Find(fingerprint string) (product, serial string, found bool) {
	for id, prod := range p.products {
		for s, raw := range prod.versions {
			if hasFingerprint(raw, fingerprint) {
				return id, s, true
			}
		}
	}
	return "", "", false
}

func hasFingerprint(raw json.RawMessage, fingerprint string) bool {
	var v publishedVersion
	if json.Unmarshal(raw, &v) != nil {
		return false
	}
	if v.Source == fingerprint {
		return true
	}
	for _, it := range v.Items {
		unified := strings.Contains(it.FType, "_combined.")
		if unified && it.SHA256 == fingerprint || slices.Contains([]string{it.Combined, it.CombinedRootXZ, it.CombinedSquashfs, it.CombinedDisk}, fingerprint) {
			return true
		}
	}
	return false
}

// Newest is the newest version of a product that has an image of the type,
// TypeContainer or TypeVM; "" when there is none.
func (p *Publication) Newest(product, imageType string) string {
	serials := p.serialsOf(product, imageType)
	if len(serials) == 0 {
		return ""
	}
	return serials[len(serials)-1]
}

// serialsOf are the versions of a product with an image of the type, the oldest first.
func (p *Publication) serialsOf(product, imageType string) []string {
	prod := p.products[product]
	if prod == nil {
		return nil
	}
	var serials []string
	for s, raw := range prod.versions {
		if slices.Contains(typesIn(raw), imageType) {
			serials = append(serials, s)
		}
	}
	slices.Sort(serials)
	return serials
}

// typesIn are the types of a version's images: those of others may have both.
func typesIn(raw json.RawMessage) []string {
	var v publishedVersion
	if json.Unmarshal(raw, &v) != nil {
		return []string{TypeContainer}
	}
	var container, vm bool
	for _, it := range v.Items {
		switch {
		case it.CombinedType == TypeVM || strings.HasSuffix(it.FType, ".img"):
			vm = true
		case strings.Contains(it.FType, "_combined.") || it.FType == "squashfs" || it.FType == "root.tar.xz":
			container = true
		}
	}
	switch {
	case vm && container:
		return []string{TypeContainer, TypeVM}
	case vm:
		return []string{TypeVM}
	}
	return []string{TypeContainer}
}

// Prune leaves the keep newest versions of each product, at least one, and returns
// how many it took out. Containers and virtual machines are counted apart: neither
// is a newer version of the other. The files go with Commit. Versions whose files
// are not where Add puts them stay.
func (p *Publication) Prune(keep int) int {
	n := 0
	for id, prod := range p.products {
		kept := map[string]bool{}
		for _, t := range []string{TypeContainer, TypeVM} {
			serials := p.serialsOf(id, t)
			for _, s := range serials[max(0, len(serials)-max(keep, 1)):] {
				kept[s] = true
			}
		}
		for s, raw := range prod.versions {
			dirs := versionDirs(id, s, raw)
			if kept[s] || len(dirs) == 0 {
				continue
			}
			p.obsolete = append(p.obsolete, dirs...)
			delete(prod.versions, s)
			n++
		}
	}
	return n
}

// versionDirs are the directories, of the form that this package gives them, of a
// version's files.
func versionDirs(product, serial string, raw json.RawMessage) []string {
	var v publishedVersion
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	want := strings.Join(append([]string{publishedDir}, append(strings.Split(product, ":"), serial)...), "/")
	for _, it := range v.Items {
		if checkPath(it.Path) == nil && strings.HasPrefix(it.Path, want+"/") && strings.Count(want, "/") == 5 {
			return []string{want}
		}
	}
	return nil
}
