package binfmt

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// qemu is how Debian's qemu-user-static registers its interpreters
// (qemu-binfmt-conf.sh).
var qemu = map[string]string{
	"aarch64": `:qemu-aarch64:M:0:\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/bin/sh:F`,
	"s390x":   `:qemu-s390x:M:0:\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16:\xff\xff\xff\xff\xff\xff\xff\xfc\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff:/bin/sh:F`,
	"armv7l":  `:qemu-arm:M:0:\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/bin/sh:OCP`,
	"ext":     `:by-ending:E::xyz::/bin/sh:`,
}

const inside = "POOLCTL_TEST_BINFMT"

// TestHandlers registers handlers with the kernel, in a user namespace of its own
// (Linux 6.7), where they are nobody else's, and finds them there.
func TestHandlers(t *testing.T) {
	if os.Getenv(inside) != "" {
		testInside(t)
		return
	}
	before, err := Handlers()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestHandlers$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{Size: 1}}, GidMappings: []syscall.SysProcIDMap{{Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestHandlers") {
		t.Errorf("%v: %s", err, out)
	}
	after, err := Handlers()
	if err != nil || len(after) != len(before) {
		t.Errorf("it reached the host: %v, %v", after, err)
	}
}

func testInside(t *testing.T) {
	dir, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, line := range qemu {
		put(t, dir, "register", line)
	}
	found := func() map[string]Handler {
		list, err := Handlers()
		if err != nil {
			t.Fatal(err)
		}
		by := map[string]Handler{}
		for _, h := range list {
			by[h.Name] = h
		}
		return by
	}
	all := found()
	if h := all["qemu-aarch64"]; !h.Enabled || !h.Fixed || h.Interpreter != "/bin/sh" || !h.Runs("aarch64") || h.Runs("armv7l") || h.Runs("x86_64") {
		t.Errorf("%+v", h)
	}
	if h := all["qemu-s390x"]; !h.Enabled || !h.Fixed || !h.Runs("s390x") || h.Runs("ppc64") {
		t.Errorf("%+v", h)
	}
	if h := all["qemu-arm"]; !h.Enabled || h.Fixed || !h.Runs("armv7l") || h.Runs("aarch64") {
		t.Errorf("%+v", h)
	}
	if len(all) != 3 {
		t.Errorf("%+v", all)
	}
	put(t, dir, "qemu-aarch64", "0")
	if all := found(); all["qemu-aarch64"].Enabled || !all["qemu-s390x"].Enabled {
		t.Errorf("after one was disabled: %+v", all)
	}
	put(t, dir, "status", "0")
	if all := found(); all["qemu-s390x"].Enabled {
		t.Errorf("after all were disabled: %+v", all)
	}
}

// TestExecutes: this kernel runs its own architecture's 32-bit programs or not, as
// such a program finds when it is started; a program of another architecture does
// not run.
func TestExecutes(t *testing.T) {
	run := func(id uint16, code []byte) error {
		path := t.TempDir() + "/program"
		if err := os.WriteFile(path, program(id, code), 0o700); err != nil {
			t.Fatal(err)
		}
		return exec.CommandContext(t.Context(), path).Run()
	}
	if err := run(machines["i686"].id, exits["i686"]); (err == nil) != Executes(t.Context(), "i686") {
		t.Errorf("i686: Executes says %v, and it ends with %v", err != nil, err)
	}
	if err := run(machines["armv7l"].id, exits["arm"]); (err == nil) != Executes(t.Context(), "armv7l") {
		t.Errorf("armv7l: Executes says %v, and it ends with %v", err != nil, err)
	}
}

func put(t *testing.T, dir *os.File, name, text string) {
	t.Helper()
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(text))
		_ = unix.Close(fd)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// FuzzParse: whatever a handler's file says, it is understood or left out.
func FuzzParse(f *testing.F) {
	f.Add("enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\nmagic 7f454c46\nmask ffffffff\n")
	f.Add("enabled\nextension .xyz\n")
	f.Add("offset -1\nmagic 00\n")
	f.Fuzz(func(t *testing.T, text string) {
		if h, ok := parse("x", text); ok {
			for arch := range machines {
				h.Runs(arch)
			}
		}
	})
}
