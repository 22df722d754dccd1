package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBadInits starts what is no init, for every cause one: the error names it,
// and nothing is left.
func TestBadInits(t *testing.T) {
	self, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	other := append([]byte{}, self...)
	other[18], other[19] = 0x16, 0 // e_machine: s390 (man elf)
	dynamic := elfWithInterpreter(t)
	for _, c := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"missing", func(string) error { return nil }, "there is no such file in the root filesystem"},
		{"dangling", func(p string) error { return os.Symlink("../lib/systemd/systemd", p) }, `it is a link to "../lib/systemd/systemd", which is not there`},
		{"directory", func(p string) error { return os.Mkdir(p, 0o755) }, "it is a directory"},
		{"not executable", func(p string) error { return os.WriteFile(p, self, 0o644) }, "it is not executable"},
		{"empty", func(p string) error { return os.WriteFile(p, nil, 0o755) }, "it is empty"},
		{"other machine", func(p string) error { return os.WriteFile(p, other, 0o755) }, "it is a program for another machine, or damaged"},
		{"text", func(p string) error { return os.WriteFile(p, []byte("exec sleep 9\n"), 0o755) }, "it is no program, nor a script that begins with #!"},
		{"script", func(p string) error { return os.WriteFile(p, []byte("#! /bin/bash -e\n"), 0o755) }, `its interpreter "/bin/bash" is not in the root filesystem`},
		{"interpreter not executable", func(p string) error { return os.WriteFile(p, []byte("#!/etc/passwd\n"), 0o755) }, `its interpreter "/etc/passwd" is not executable`},
		{"dynamic", func(p string) error { return os.WriteFile(p, dynamic, 0o755) }, `is not in the root filesystem`},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := busyboxRoot(t)
			init := filepath.Join(root, "sbin/init")
			if err := errors.Join(os.Remove(init), c.make(init)); err != nil {
				t.Fatal(err)
			}
			s := testSpec(t, root)
			err := Start(t.Context(), s)
			if err == nil || !strings.HasPrefix(err.Error(), "cannot execute /sbin/init: ") || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if _, err := Open(s.RunDir); !errors.Is(err, ErrNotRunning) {
				t.Errorf("Open: %v", err)
			}
			checkGone(t, s)
		})
	}
}

// elfWithInterpreter is a program of this host that needs a dynamic linker.
func elfWithInterpreter(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile("/bin/ls")
	if err != nil || !strings.Contains(string(data[:4096]), "/ld-") {
		t.Fatalf("/bin/ls should be linked dynamically: %v", err)
	}
	return data
}
