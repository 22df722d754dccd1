package cgroup

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// oneOf is a layout of one of the host's hierarchies, for a group in it.
func oneOf(t *testing.T, want func(Hierarchy) bool) Layout {
	t.Helper()
	all, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range all {
		if want(h) {
			return Layout{h}
		}
	}
	t.Fatal("the host has no such hierarchy")
	return nil
}

// inGroup runs a script in a new group of the layout, after prepare.
func inGroup(t *testing.T, l Layout, prepare func(Group) error, script string) string {
	t.Helper()
	g, err := l.Group("/poolctl-test/devices-" + strings.ToLower(filepath.Base(t.Name())))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Create(0, 0); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Remove(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if err := prepare(g); err != nil {
		t.Fatal(err)
	}
	e, err := g.Enter()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	cmd := exec.Command("sh", "-c", `for fd in $FDS; do echo 0 >&$fd || exit 9; done; `+script)
	cmd.Dir = t.TempDir()
	for i, f := range e.Tasks {
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		cmd.Env = append(os.Environ(), "FDS="+string(rune('3'+i)))
	}
	if e.Unified != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(e.Unified.Fd())}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// tryDevices says of each of some devices what can be done with it.
const tryDevices = `
for d in "null c 1 3" "kmsg c 1 11" "zero c 1 5" "loop b 7 99" "tty0 c 4 0"; do set -- $d
	mknod $1 $2 $3 $4 && printf "$1 made"
	(: < $1) 2>/dev/null && printf " read"
	(: > $1) 2>/dev/null && printf " written"
	echo
done`

// TestDevices limits devices by both ways that there are.
func TestDevices(t *testing.T) {
	layouts := map[string]Layout{"v2": oneOf(t, func(h Hierarchy) bool { return h.Unified })}
	if all, err := Detect(); err == nil && !all.Pure() {
		layouts["v1"] = oneOf(t, func(h Hierarchy) bool { return strings.Join(h.Controllers, ",") == "devices" })
	}
	for name, l := range layouts {
		t.Run(name, func(t *testing.T) {
			limited := func(g Group) error { return g.LimitDevices(DefaultDevices(), 0, 0) }
			want := "null made read written\nkmsg made\nzero made read written\nloop made\ntty0 made\n"
			if out := inGroup(t, l, limited, tryDevices); out != want {
				t.Errorf("by default:\n%swant:\n%s", out, want)
			}
			changed := func(g Group) error {
				to := []Device{{'c', AnyNumber, AnyNumber, "m"}, {'c', 1, AnyNumber, "rw"}, {'c', 4, 0, "r"}}
				return errors.Join(limited(g), g.ChangeDevices(DefaultDevices(), to))
			}
			script := strings.Replace(tryDevices, `"loop b 7 99"`, "", 1) + "\n mknod loop b 7 99 2>/dev/null || echo no block device"
			want = "null made read written\nkmsg made read written\nzero made read written\ntty0 made read\nno block device\n"
			if out := inGroup(t, l, changed, script); out != want {
				t.Errorf("changed:\n%swant:\n%s", out, want)
			}
			if err := limited(Group{l, "/poolctl-test/not-there"}); err == nil {
				t.Error("the devices of no group were limited")
			}
		})
	}
}

func TestDeviceRules(t *testing.T) {
	if got := (Device{'b', 7, AnyNumber, "rw"}).String(); got != "b 7:* rw" {
		t.Error(got)
	}
	for _, d := range []Device{{'a', 1, 1, "r"}, {'c', 1, 1, ""}, {'c', 1, 1, "rx"}, {'c', -2, 1, "r"}, {'c', 1, 1 << 20, "r"}, {'c', 1 << 12, 1, "r"}} {
		g := Group{path: "/x"}
		if err := g.LimitDevices([]Device{d}, 0, 0); err == nil || !strings.Contains(err.Error(), "invalid device rule") {
			t.Errorf("%v: %v", d, err)
		}
	}
	if err := (Group{path: "/x"}).LimitDevices(nil, 0, 0); !errors.Is(err, ErrNoDeviceControl) {
		t.Errorf("without a hierarchy: %v", err)
	}
	if got := encode([]instruction{{code: loadWord, dst: kind, src: input}, {code: moveImm, dst: result, imm: -1}}); !bytes.Equal(got, []byte{0x61, 0x12, 0, 0, 0, 0, 0, 0, 0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}) {
		t.Errorf("%x", got)
	}
	if unix.BPF_CGROUP_DEVICE != 6 || len(deviceProgram(DefaultDevices())) > 200 {
		t.Error("the program has changed")
	}
}
