package pool

import (
	"strings"
	"testing"
)

// FuzzPickImage: an image is found by exactly what names it.
func FuzzPickImage(f *testing.F) {
	a, b := strings.Repeat("ab", 32), strings.Repeat("ac", 32)
	all := []Image{
		{Fingerprint: a, AltFingerprints: []string{strings.Repeat("ee", 32)}, Aliases: []ImageAlias{{Name: "alpine/3.20"}, {Name: "abc"}}},
		{Fingerprint: b, Aliases: []ImageAlias{{Name: "ümlaut"}}},
	}
	for _, ref := range []string{"alpine/3.20", "local:abc", "a", "ab", "ee", "", "local:", "AB", "../x", a, a + "a", "ümlaut"} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		im, err := pickImage(all, ref)
		if err != nil {
			return
		}
		name := strings.TrimPrefix(ref, "local:")
		for _, alias := range im.Aliases {
			if alias.Name == name {
				return
			}
		}
		if name == "" || !strings.HasPrefix(im.Fingerprint, name) && !strings.HasPrefix(im.AltFingerprints[0], name) {
			t.Errorf("%q is %s", ref, im.Fingerprint)
		}
	})
}

// FuzzLookRef: what a mount shows is an instance, a snapshot or an image only where
// one can be.
func FuzzLookRef(f *testing.F) {
	for _, root := range []string{"/containers/c1/rootfs", "/containers-snapshots/c1/s0/rootfs", "/images/ab/rootfs", "/", "/custom/x", "containers//rootfs"} {
		f.Add(root)
	}
	f.Fuzz(func(t *testing.T, root string) {
		ref := lookRef(root)
		if ref != "" && (!strings.HasSuffix(root, "/rootfs") || strings.Count(ref, "/") > 1 || !strings.Contains(root, ref)) {
			t.Errorf("%q shows %q", root, ref)
		}
	})
}
