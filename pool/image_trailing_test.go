package pool

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestImportTrailing: what follows the end of a file that nobody vouches for is padding, or the file is refused, in every
// format.
func TestImportTrailing(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	f := newImageFiles(t)
	squashfs := f.path("root.squashfs")
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", "sqfstar -quiet -no-progress "+squashfs+" < "+f.tar).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	type try struct {
		file   string
		behind []byte
		inside bool // the archive, before it is compressed
		padded bool // it is allowed
	}
	junk := append(make([]byte, 5000), "junk"...)
	tries := []try{
		{file: f.tar, behind: junk},
		{file: f.tar, behind: []byte("x")},
		{file: f.tar, behind: make([]byte, 70<<10), padded: true},
		{file: squashfs, behind: junk},
		{file: squashfs, behind: []byte("x")},
		{file: squashfs, behind: make([]byte, 1<<20), padded: true},
		{file: "zstd -q -c", behind: junk, inside: true},
		{file: "xz -0 -c", behind: make([]byte, 40<<10), inside: true, padded: true},
		{file: "xz -0 -c", behind: make([]byte, 1024), padded: true},
	}
	for _, command := range []string{"gzip -c", "xz -0 -c", "zstd -q -c", "bzip2 -c", "lz4 -q -c", "xz -0 --format=lzma -c"} {
		tries = append(tries, try{file: command, behind: []byte("some junk")})
	}
	for i, c := range tries {
		b, err := os.ReadFile(f.tar)
		if c.file == squashfs {
			b, err = os.ReadFile(squashfs)
		}
		if err != nil {
			t.Fatal(err)
		}
		if c.inside {
			b = append(b, c.behind...)
		}
		if strings.HasSuffix(c.file, " -c") {
			cmd := exec.CommandContext(t.Context(), "sh", "-c", c.file)
			cmd.Stdin = bytes.NewReader(b)
			if b, err = cmd.Output(); err != nil {
				t.Fatalf("%s: %v", c.file, err)
			}
		}
		if !c.inside {
			b = append(slices.Clip(b), c.behind...)
		}
		root := f.path("tried")
		if err := os.WriteFile(root, b, 0o600); err != nil {
			t.Fatal(err)
		}
		im, err := s.ImportImage(t.Context(), ImportImageOptions{Files: []string{f.meta, root}})
		if (err == nil) != c.padded {
			t.Errorf("%d: %s with %d bytes behind it: %v", i, c.file, len(c.behind), err)
		}
		t.Logf("%d: %v", i, err)
		if err == nil {
			if err := s.DeleteImage(t.Context(), im.Fingerprint); err != nil {
				t.Fatal(err)
			}
		}
	}
}
