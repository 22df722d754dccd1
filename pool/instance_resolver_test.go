package pool

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/runtime/guestfs"
)

// A resolver from outside is written only where nobody else sees to it, and never out of the root.
func TestPutResolver(t *testing.T) {
	const written = resolvMark + "\nnameserver 10.0.0.1\n"
	outside := filepath.Join(t.TempDir(), "outside")
	file := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	link := func(to string) func(string) error { return func(path string) error { return os.Symlink(to, path) } }
	for name, c := range map[string]struct {
		make       func(path string) error
		also       string // another file that is there
		set, unset string // what is there then; "" for no regular file
	}{
		"missing":         {set: written},
		"empty":           {make: file(""), set: written},
		"comments":        {make: file("# none\nsearch x\n"), set: written, unset: "# none\nsearch x\n"},
		"ours":            {make: file(resolvMark + "\nnameserver 10.9.0.1\n"), set: written},
		"another's":       {make: file("nameserver 1.1.1.1\n"), set: "nameserver 1.1.1.1\n", unset: "nameserver 1.1.1.1\n"},
		"ours, taken":     {make: file("nameserver 10.9.0.1\n"), set: "nameserver 10.9.0.1\n", unset: "nameserver 10.9.0.1\n"},
		"dangling link":   {make: link("../run/resolv.conf")},
		"link outside":    {make: link(outside)},
		"device":          {make: func(path string) error { return unix.Mkfifo(path, 0o644) }},
		"directory":       {make: func(path string) error { return os.Mkdir(path, 0o755) }},
		"systemd's":       {also: "usr/lib/systemd/systemd-resolved"},
		"systemd's, file": {also: "usr/lib/systemd/systemd-resolved", make: file(""), set: written},
	} {
		for _, want := range []string{written, ""} {
			dir := t.TempDir()
			path := filepath.Join(dir, "etc/resolv.conf")
			for _, d := range []string{"etc", "usr/lib/systemd", "run"} {
				if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if c.make != nil {
				if err := c.make(path); err != nil {
					t.Fatal(err)
				}
			}
			if c.also != "" {
				if err := os.WriteFile(filepath.Join(dir, c.also), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := put(t, dir, want); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			expect := c.set
			if want == "" {
				expect = c.unset
			}
			got := ""
			if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				got = string(text)
			}
			if got != expect {
				t.Errorf("%s, wanted %q: got %q", name, want, got)
			}
		}
	}
	if _, err := os.Lstat(outside); !os.IsNotExist(err) {
		t.Errorf("written out of the root: %v", err)
	}
	dir := t.TempDir()
	if err := os.Symlink(t.TempDir(), filepath.Join(dir, "etc")); err != nil {
		t.Fatal(err)
	}
	if err := put(t, dir, written); err != nil {
		t.Errorf("/etc that leads nowhere: %v", err)
	}
	if target, err := os.Readlink(filepath.Join(dir, "etc")); err != nil {
		t.Error(err)
	} else if list, err := os.ReadDir(target); err != nil || len(list) > 0 {
		t.Errorf("written out of the root: %v, %v", list, err)
	}
}

func put(t *testing.T, dir, want string) error {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	root := guestfs.New(f, nil, nil)
	defer func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	}()
	return putResolver(t.Context(), root, want)
}
