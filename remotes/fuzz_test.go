package remotes

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"index":{"a":{"datatype":"image-downloads","path":"streams/v1/images.json","products":["x"]},"updated":"x"},"format":"index:1.0"}`))
	f.Add([]byte(`{"index":{"a":{"datatype":"image-downloads","path":"../x","products":["x"]}}}`))
	f.Add(make([]byte, 16))
	f.Fuzz(func(t *testing.T, body []byte) {
		paths, err := parseIndex(body)
		if err != nil {
			return
		}
		for _, p := range paths {
			if checkPath(p) != nil {
				t.Errorf("%q from %q", p, body)
			}
		}
	})
}

func FuzzProducts(f *testing.F) {
	f.Add(products(f, spec{"amd64", "a,b/c", "20240101", squash("a1")}), "a")
	f.Add(products(f, spec{"arm64", "a", "20240101_00:00", disk("a1")}), "a1")
	f.Add([]byte(`{"products":{"x":{"arch":"i386","versions":{"20240101":{"items":{"u":{"ftype":"lxd_combined.tar.gz","path":"u","sha256":"`+fp("1")+`","size":"7"}}}}}}}`), "1")
	f.Fuzz(func(t *testing.T, body []byte, ref string) {
		file, err := parseProducts(body)
		if err != nil {
			return
		}
		c := newCatalogue([]*productsFile{file}, ubuntuImages, "x86_64")
		for _, img := range c.images {
			checkImage(t, c, img)
		}
		img, err := c.find("r", ref, Want{})
		if err == nil && img.Fingerprint == "" {
			t.Errorf("%q finds nothing, without an error", ref)
		}
	})
}

// checkImage holds an image to what every caller relies on.
func checkImage(t *testing.T, c *catalogue, img Image) {
	t.Helper()
	if !isSHA256(img.Fingerprint) || img.Size <= 0 || len(img.Files) == 0 {
		t.Errorf("%+v", img)
	}
	for _, f := range img.Files {
		if err := f.check(); err != nil {
			t.Error(err)
		}
	}
	for k, v := range img.Properties {
		if v == "" || strings.ContainsFunc(k+v+img.Description, isControl) {
			t.Errorf("property %q=%q", k, v)
		}
	}
	for _, a := range img.Aliases {
		i, ok := c.claims[claim{typ: a.Type, arch: a.Arch, name: a.Name}]
		if !ok || c.images[i].Fingerprint != img.Fingerprint {
			t.Errorf("alias %+v is not %s's", a, img.Fingerprint)
		}
	}
	if got, err := c.find("r", img.Fingerprint, Want{}); err != nil || got.Fingerprint != img.Fingerprint {
		// An alias may be spelt like a fingerprint; another image may have it as its alternative.
		if _, isAlias := c.byAlias(img.Fingerprint, []string{TypeContainer, TypeVM}, runnable(c.native)); !isAlias && len(c.byFingerprint(img.Fingerprint, []string{TypeContainer, TypeVM}, "", nil)) < 2 {
			t.Errorf("%s: %v", img.Fingerprint, err)
		}
	}
	if name, more := img.DisplayAlias(); more < 0 || more >= max(1, len(img.Aliases)) || (name == "" && more > 0) {
		t.Errorf("displays %q and %d more", name, more)
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"https://e/x/", "http://e", "e:80/x", "https://u:p@e/", "https://[::1]/%2e%2e/", "https://e/a%2fb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseURL(s)
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(got, "/") {
			t.Errorf("%q: %q %v", s, got, err)
		}
		if again, err := ParseURL(got); err != nil || again != got {
			t.Errorf("%q: %q, then %q %v", s, got, again, err)
		}
	})
}

func FuzzJoinPath(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "%2e%2e/x", "a//b", "http://e", "a:b/c", `a\b`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		base := &url.URL{Scheme: "https", Host: "e", Path: "/base"}
		got, err := joinPath(base, p)
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		if err != nil || u.Host != "e" || u.Path != "/base/"+p || u.JoinPath().Path != u.Path {
			t.Errorf("%q: %q %v", p, got, err)
		}
	})
}

func FuzzFind(f *testing.F) {
	c := makeCatalogue(
		f, ubuntuImages,
		spec{"amd64", "os/1,default,jammy", "20240101", squash("a1")},
		spec{"arm64", "os/1", "20240101", squash("a2")},
	)
	for _, s := range []string{"os/1", "os/1/arm64", "a", "ubuntu/jammy", "/", "", "a1"} {
		f.Add(s, "", "")
	}
	f.Add("os/1", "arm64", TypeContainer)
	f.Fuzz(func(t *testing.T, ref, arch, typ string) {
		img, err := c.find("r", ref, Want{Arch: arch, Type: typ})
		if (err == nil) != isSHA256(img.Fingerprint) {
			t.Errorf("%q: %+v %v", ref, img, err)
		}
		if k, ok := Arch(arch); err == nil && arch != "" && (!ok || img.Arch != k) {
			t.Errorf("%q for %q is for %s", ref, arch, img.Arch)
		}
	})
}

func FuzzCacheEntry(f *testing.F) {
	body := []byte("body\nmore")
	head, err := json.Marshal(cacheHeader{Version: cacheVersion, URL: "u", SHA256: sha(body), Size: len(body)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(append(head, '\n'), body...))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parseEntry(data)
		if err == nil && (e.SHA256 != sha(e.body) || e.Size != len(e.body)) {
			t.Errorf("%q is taken", data)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 5-9/10", "bytes 0-0/*", "bytes */10", "bytes -1-5/9", "bytes 5-4/10", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		start, total, err := parseContentRange(s)
		if err == nil && (start < 0 || total < -1 || total >= 0 && start >= total) {
			t.Errorf("%q: %d %d", s, start, total)
		}
	})
}
