package pool

import (
	"strings"
	"testing"
	"time"

	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// TestPickImages finds images by alias and by the beginning of a fingerprint in
// several pools.
func TestPickImages(t *testing.T) {
	image := func(pool, fill string, aliases ...string) Image {
		im := Image{Pool: pool, Fingerprint: strings.Repeat(fill, 64/len(fill)), AltFingerprints: []string{"ee" + strings.Repeat(fill, 64/len(fill))[2:]}}
		for _, a := range aliases {
			im.Aliases = append(im.Aliases, ImageAlias{Name: a})
		}
		return im
	}
	all := []Image{
		image("p", "ab", "both", "abab"), image("q", "ab", "both"), image("p", "ac", "other"), image("q", "ad", "other", "q/only"),
	}
	for _, c := range []struct{ ref, preferred, want string }{
		{"both", "", "p ababab,q ababab"},
		{"both", "q", "q ababab,p ababab"},
		{"local:both", "p", "p ababab,q ababab"},
		{"other", "p", "p acacac"},
		{"other", "q", "q adadad"},
		{"other", "r", "the alias stands for several images, in different pools: acacacacacac, adadadadadad"},
		{"abab", "", "p ababab"}, // an alias before a fingerprint
		{"ababa", "", "p ababab,q ababab"},
		{"eeabab", "", "p ababab,q ababab"},
		{"a", "", "the prefix is ambiguous: abab"},
		{"q/only", "p", "q adadad"},
		{"none", "", "not found"},
		{"", "", "it has no name"},
		{"local:", "p", "it has no name"},
		{"AB", "", "not found"},
	} {
		found, err := pickImages(all, c.ref, c.preferred)
		var got []string
		for _, im := range found {
			got = append(got, im.Pool+" "+im.Fingerprint[:6])
		}
		text := strings.Join(got, ",")
		if err != nil {
			text = err.Error()
		}
		if text != c.want && (err == nil || !strings.Contains(text, c.want)) {
			t.Errorf("%q in %q: %s; want %s", c.ref, c.preferred, text, c.want)
		}
	}
}

// TestIsStale says which images are deleted when they are not used.
func TestIsStale(t *testing.T) {
	now := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	before := func(days int) time.Time { return now.Add(-time.Duration(days)*24*time.Hour - time.Second) }
	for name, c := range map[string]struct {
		r    tree.ImageRecord
		days string
		want bool
	}{
		"used":                 {tree.ImageRecord{Cached: true, LastUsedAt: before(9), UploadedAt: before(99)}, "", false},
		"unused":               {tree.ImageRecord{Cached: true, LastUsedAt: before(10), UploadedAt: before(0)}, "", true}, // refreshed meanwhile
		"never used":           {tree.ImageRecord{Cached: true, UploadedAt: before(10)}, "", true},
		"kept":                 {tree.ImageRecord{LastUsedAt: before(99), UploadedAt: before(99)}, "", false},
		"of unknown age":       {tree.ImageRecord{Cached: true}, "", false},
		"longer":               {tree.ImageRecord{Cached: true, LastUsedAt: before(20)}, "21", false},
		"shorter":              {tree.ImageRecord{Cached: true, LastUsedAt: before(1)}, "1", true},
		"not deleted at all":   {tree.ImageRecord{Cached: true, LastUsedAt: before(999)}, "0", false},
		"with a broken record": {tree.ImageRecord{Cached: true, LastUsedAt: before(10)}, "x", true},
	} {
		rec := state.PoolRecord{Config: map[string]string{cacheExpiryKey: c.days}}
		if got := isStale(c.r, cacheExpiry(rec), now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestChangedProperties notes what a user has set or removed, and nothing else.
func TestChangedProperties(t *testing.T) {
	r := tree.ImageRecord{Properties: map[string]string{"a": "1", "b": "2", "c": "3"}, ChangedProperties: []string{"z"}}
	if got := strings.Join(changedProperties(r, map[string]string{"a": "1", "b": "4", "d": "5"}), " "); got != "b c d z" {
		t.Errorf("%q", got)
	}
	for key, value := range map[string]string{"": "x", "a b": "x", "a=b": "x", "a\x1b": "x", "ok": "a\x1bb", "bad": "\xff"} {
		if checkProperty(key, value) == nil {
			t.Errorf("%q=%q is taken", key, value)
		}
	}
	if err := checkProperty("requirements.secureboot", "a=b c\nd ü"); err != nil {
		t.Error(err)
	}
}
