package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
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

// TestInitEndsAtOnce starts what is executed and cannot go on: the error says how
// it ended and what it wrote.
func TestInitEndsAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, root string)
		want string
	}{
		{"missing library", missingLibrary, `/sbin/init ended at once with exit code 127, and wrote: .*libselinux.*cannot open shared object file`},
		{"exits", initScript("exit 3"), `^/sbin/init ended at once with exit code 3$`},
		{"complains", initScript("printf '\\n\\033[31mno config\\n'; exit 1"), `^/sbin/init ended at once with exit code 1, and wrote: \[31mno config$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := busyboxRoot(t)
			if err := os.Remove(filepath.Join(root, "sbin/init")); err != nil {
				t.Fatal(err)
			}
			c.make(t, root)
			s := testSpec(t, root)
			err := Start(t.Context(), s)
			for try := 0; err == nil && try < 5; try++ { // a busy machine takes its time to execute it
				eventually(t, "it has ended", 5*time.Second, func() bool {
					_, err := os.Lstat(s.RunDir)
					return errors.Is(err, os.ErrNotExist)
				})
				err = Start(t.Context(), s)
			}
			if err == nil || !regexp.MustCompile(c.want).MatchString(err.Error()) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if _, err := Open(s.RunDir); !errors.Is(err, ErrNotRunning) {
				t.Errorf("Open: %v", err)
			}
			checkGone(t, s)
		})
	}
}

func initScript(text string) func(*testing.T, string) {
	return func(t *testing.T, root string) {
		write(t, filepath.Join(root, "sbin/init"), "#!/bin/sh\n"+text+"\n", 0o755)
	}
}

// missingLibrary makes an init of a dynamic program, with the dynamic linker and
// without the libraries.
func missingLibrary(t *testing.T, root string) {
	write(t, filepath.Join(root, "sbin/init"), string(elfWithInterpreter(t)), 0o755)
	for _, linker := range []string{"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"} {
		data, err := os.ReadFile(linker)
		if err != nil {
			continue // of the other architecture
		}
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(linker)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, linker), string(data), 0o755)
	}
}
