package pool

import (
	"strconv"
	"testing"
)

func TestQuotePath(t *testing.T) {
	for path, want := range map[string]string{
		"/etc/hosts": "/etc/hosts", "/a b/é": "/a b/é", "/a\nb": `"/a\nb"`, "/\xff": `"/\xff"`, `/a\b`: `"/a\\b"`, `/"`: `"/\""`, "/a ": `"/a "`,
		"/\x1b[31m": `"/\x1b[31m"`, "/\u202e": `"/\u202e"`, "/\ufffd": `"/�"`,
	} {
		if got := QuotePath(path); got != want {
			t.Errorf("QuotePath(%q) = %s, want %s", path, got, want)
		}
	}
}

func FuzzQuotePath(f *testing.F) {
	f.Add("/a")
	f.Add("/\xff\n")
	f.Fuzz(func(t *testing.T, path string) {
		got := QuotePath(path)
		if got == path {
			return
		}
		if back, err := strconv.Unquote(got); err != nil || back != path {
			t.Errorf("%q is quoted as %s: %q, %v", path, got, back, err)
		}
	})
}
