package runtime

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"poolctl/runtime/cgroup"
)

// TestPureV2 runs other tests where only cgroup v2 is to be seen, in a mount
// namespace of their own: on a host with v1 hierarchies its controllers are few,
// but the one directory, its delegation and the rule against processes in inner
// groups are those of any v2 host. On such a host, this is once more the same. The
// namespace has the mounts of that moment, and would keep pools from being detached:
// those on files are unmounted in it first.
func TestPureV2(t *testing.T) {
	restoreControllers(t)
	script := `mounts=$(cat /proc/self/mounts)
echo "$mounts" | while read -r source dir type rest; do
	case "$source $type" in /dev/loop*" btrfs") umount -l "$(printf %b "$dir")";; esac
done
umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$0" -test.v -test.run "$1"`
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tests := []string{"StartExecStop", "ExecCodes", "Reboot", "SupervisorKilled", "SessionCgroup", "Debian", "StopTimeout", "Pause", "FrozenByItself"}
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, exe, "^Test("+strings.Join(tests, "|")+")$")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, name := range tests {
		if !strings.Contains(string(out), "--- PASS: Test"+name+" ") {
			t.Errorf("Test%s did not run:\n%s", name, out)
		}
	}
}

// restoreControllers takes back, after the test, what it lets through from the
// root of a v2 hierarchy that stands beside v1 ones.
func restoreControllers(t *testing.T) {
	t.Helper()
	layout, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	h, ok := layout.Unified()
	if !ok || h.Sole {
		return
	}
	control := filepath.Join(h.Mount, "cgroup.subtree_control")
	before, err := os.ReadFile(control)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		after, err := os.ReadFile(control)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range strings.Fields(string(after)) {
			if slices.Contains(strings.Fields(string(before)), c) {
				continue
			}
			if err := os.WriteFile(control, []byte("-"+c), 0); err != nil {
				t.Error(err)
			}
		}
	})
}
