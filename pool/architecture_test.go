package pool

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/remotes"
)

const archInside = "POOLCTL_TEST_ARCH"

// foreign is an architecture that this machine does not run.
func foreign() string {
	if remotes.NativeArch() == "s390x" {
		return "aarch64"
	}
	return "s390x"
}

// TestCheckArch: what the machine runs starts, anything else only with an interpreter
// that is registered, enabled and has flag F. The handlers are registered with the
// kernel in a user namespace of the test's own (Linux 6.7), and so are nobody else's.
func TestCheckArch(t *testing.T) {
	if os.Getenv(archInside) != "" {
		checkArchInside(t)
		return
	}
	native := remotes.NativeArch()
	for _, arch := range []string{"", native, "amd64", "x86_64"} {
		known, _ := remotes.Arch(arch)
		if arch != "" && known != native {
			continue
		}
		if linux32, err := checkArch(t.Context(), arch); err != nil || linux32 {
			t.Errorf("%q: %v, %v", arch, linux32, err)
		}
	}
	if _, err := checkArch(t.Context(), foreign()); err == nil || !strings.Contains(err.Error(), foreign()) || !strings.Contains(err.Error(), native) {
		t.Errorf("%v", err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestCheckArch$", "-test.v")
	cmd.Env = append(os.Environ(), archInside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{Size: 1}}, GidMappings: []syscall.SysProcIDMap{{Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestCheckArch") {
		t.Errorf("%v: %s", err, out)
	}
}

func checkArchInside(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("binfmt_misc", dir, "binfmt_misc", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	magic := `\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff`
	if foreign() == "aarch64" {
		magic = `\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff`
	}
	want := func(hint string) {
		t.Helper()
		switch _, err := checkArch(t.Context(), foreign()); {
		case hint == "" && err != nil:
			t.Errorf("%v", err)
		case hint != "" && (err == nil || !strings.Contains(hintOf(err), hint)):
			t.Errorf("want the hint %q: %v, %q", hint, err, hintOf(err))
		}
	}
	want("qemu-user-static")
	put("register", ":test-o:M:0:"+magic+":/bin/sh:O")
	want("has no flag F")
	put("test-o", "-1")
	put("register", ":test-f:M:0:"+magic+":/bin/sh:F")
	want("")
	put("test-f", "0")
	want("is disabled")
	put("test-f", "1")
	put("status", "0")
	want("is disabled")
}
