package rootfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/images"
)

func TestOpenUnknown(t *testing.T) {
	for _, name := range []string{"", "alpine", "../busybox"} {
		if _, err := Open(t.Context(), name); !errors.Is(err, ErrUnknown) {
			t.Errorf("template %q: %v", name, err)
		}
	}
	if got := strings.Join(Names(), " "); got != "busybox none" {
		t.Errorf("the templates are %s", got)
	}
}

func fill(t *testing.T, name string) string {
	t.Helper()
	old := unix.Umask(0o077) // what is made does not hang on the caller's
	defer unix.Umask(old)
	tpl, err := Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	tpl.Metadata.Architecture = "x86_64"
	dir := t.TempDir()
	if err := tpl.Fill(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestNone(t *testing.T) {
	dir := fill(t, "none")
	if entries, err := os.ReadDir(filepath.Join(dir, "rootfs")); len(entries) != 0 || err != nil {
		t.Errorf("an empty root has %v, %v", entries, err)
	}
	if m, err := images.ReadMetadata(dir); err != nil || m.Architecture != "x86_64" {
		t.Errorf("metadata %+v, %v", m, err)
	}
}

func TestBusybox(t *testing.T) {
	dir := fill(t, "busybox")
	root := filepath.Join(dir, "rootfs")
	for name, mode := range map[string]fs.FileMode{
		"bin/busybox": 0o755, "etc/shadow": 0o600, "etc/inittab": 0o644, "etc/init.d/rcS": 0o755,
		"tmp": fs.ModeDir | fs.ModeSticky | 0o777, "root": fs.ModeDir | 0o700, "etc": fs.ModeDir | 0o755,
	} {
		if info, err := os.Lstat(filepath.Join(root, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want %v", name, info, err, mode)
		}
	}
	// No link leads out of the root, wherever it is seen from.
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type() != fs.ModeSymlink {
			return err
		}
		target, err := os.Readlink(path)
		if err == nil && (filepath.IsAbs(target) || !strings.HasPrefix(filepath.Join(filepath.Dir(path), target), root+"/")) {
			t.Errorf("%s leads to %s", path, target)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("chroot", root, "/bin/sh", "-c", "echo $0; ls /sbin/init; /bin/login --help 2>&1 | head -n 2; sh -n /etc/init.d/rcS && sh -n /usr/share/udhcpc/default.script && echo sound").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "/sbin/init") || !strings.Contains(string(out), "sound") {
		t.Errorf("in the root: %v\n%s", err, out)
	}
	m, err := images.ReadMetadata(dir)
	if err != nil || m.Properties["os"] != "BusyBox" || m.Properties["release"] == "" {
		t.Errorf("metadata %+v, %v", m, err)
	}
	if err := images.ApplyTemplates(t.Context(), dir, "create", images.TemplateInstance{Name: "bb"}); err != nil {
		t.Fatal(err)
	}
	if name, err := os.ReadFile(filepath.Join(root, "etc/hostname")); string(name) != "bb\n" {
		t.Errorf("/etc/hostname is %q, %v", name, err)
	}
}

func TestFillStops(t *testing.T) {
	tpl, err := Open(t.Context(), "busybox")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tpl.Fill(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := tpl.Fill(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// TestNoBusybox: what is no static busybox is refused with what to install.
func TestNoBusybox(t *testing.T) {
	dynamic, err := exec.LookPath("ls")
	if err != nil {
		t.Fatal(err)
	}
	static, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, program, script, want string }{
		{"missing", "", "", "no busybox on this machine"},
		{"dynamic", dynamic, "", "linked dynamically"},
		{"a script", "", "#!/bin/sh\necho BusyBox v1\n", "cannot read"},
		{"the one of this host", static, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("PATH", dir)
			switch {
			case c.program != "":
				data, err := os.ReadFile(c.program)
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, "busybox"), data, 0o755)
				}
				if err != nil {
					t.Fatal(err)
				}
			case c.script != "":
				if err := os.WriteFile(filepath.Join(dir, "busybox"), []byte(c.script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Open(t.Context(), "busybox")
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if h, ok := errors.AsType[interface {
				error
				Hint() string
			}](err); c.script == "" && (!ok || !strings.Contains(h.Hint(), "busybox-static")) {
				t.Errorf("no hint in %v", err)
			}
		})
	}
}

func TestParseApplets(t *testing.T) {
	got := strings.Join(parseApplets("bin/sh\nsbin/init\nusr/bin/[\nusr/sbin/x\nlinuxrc\n../bin/x\n/bin/y\nbin/../z\nbin/a/b\n\n"), " ")
	if want := "bin/sh sbin/init usr/bin/[ usr/sbin/x"; got != want {
		t.Errorf("applets %s, want %s", got, want)
	}
}
