package remotes

import (
	"fmt"
	"slices"
	"strings"
)

// defaultAlias is what a reference without a name stands for.
const defaultAlias = "default"

// Want narrows what Find may give.
type Want struct {
	Arch string // any spelling; "" = the machine's own, or one that it runs
	Type string // TypeContainer or TypeVM; "" = a container, or else a virtual machine
}

// find resolves a reference within a catalogue; see Client.Find.
func (c *catalogue) find(remote, ref string, w Want) (Image, error) {
	if ref = strings.Trim(ref, "/"); ref == "" {
		ref = defaultAlias
	}
	archs, err := wantArchs(w.Arch, c.native)
	if err != nil {
		return Image{}, fmt.Errorf("cannot find image %s:%s: %w", remote, ref, err)
	}
	types := []string{TypeContainer, TypeVM}
	if w.Type != "" {
		if !slices.Contains(types, w.Type) {
			return Image{}, fmt.Errorf("cannot find image %s:%s: unknown type %q", remote, ref, w.Type)
		}
		types = []string{w.Type}
	}
	for _, name := range c.spellings(ref) {
		if i, ok := c.byAlias(name, types, archs); ok {
			return c.images[i], nil
		}
		if i, ok := c.byLongAlias(name, types, w.Arch, archs); ok {
			return c.images[i], nil
		}
	}
	found := c.byFingerprint(strings.ToLower(ref), types, w.Arch, archs)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return Image{}, &AmbiguousError{Remote: remote, Ref: ref, Candidates: found}
	}
	return Image{}, c.notFound(remote, ref, w)
}

// spellings are the names that a reference may stand for: itself and, where all
// images are of one OS, itself without that.
func (c *catalogue) spellings(ref string) []string {
	if rest, ok := strings.CutPrefix(ref, c.defaultOS+"/"); c.defaultOS != "" && ok {
		return []string{ref, rest}
	}
	return []string{ref}
}

// byAlias finds the image of a name: containers before virtual machines, the
// first architecture first.
func (c *catalogue) byAlias(name string, types, archs []string) (int, bool) {
	for _, t := range types {
		for _, a := range archs {
			if i, ok := c.claims[claim{typ: t, arch: a, name: name}]; ok {
				return i, true
			}
		}
	}
	return 0, false
}

// byLongAlias finds NAME/ARCH, where ARCH may be spelt in any way. An
// architecture that is also wanted otherwise must be that one.
func (c *catalogue) byLongAlias(name string, types []string, wantArch string, archs []string) (int, bool) {
	cut := strings.LastIndexByte(name, '/')
	if cut < 0 {
		return 0, false
	}
	arch, ok := Arch(name[cut+1:])
	if !ok || (wantArch != "" && arch != archs[0]) {
		return 0, false
	}
	if i, ok := c.byAlias(name, types, []string{arch}); ok {
		return i, true
	}
	return c.byAlias(name[:cut], types, []string{arch})
}

// byFingerprint lists the images whose fingerprint, or an alternative one,
// begins with a prefix; a whole fingerprint matches only itself.
func (c *catalogue) byFingerprint(prefix string, types []string, wantArch string, archs []string) []Image {
	if prefix == "" || !isHex(prefix) {
		return nil
	}
	var found []Image
	seen := map[string]bool{}
	for _, img := range c.images {
		if !slices.Contains(types, img.Type) || (wantArch != "" && img.Arch != archs[0]) {
			continue
		}
		if !hasPrint(img, prefix) || seen[img.Fingerprint] {
			continue
		}
		seen[img.Fingerprint] = true
		found = append(found, img)
	}
	return found
}

func hasPrint(img Image, prefix string) bool {
	if strings.HasPrefix(img.Fingerprint, prefix) {
		return true
	}
	return slices.ContainsFunc(img.AltFingerprints, func(fp string) bool { return strings.HasPrefix(fp, prefix) })
}
