package runtime

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/cgroup"
	"poolctl/runtime/seccomp"
)

// privileged is an instance without a user namespace.
func privileged(t *testing.T, root string) Spec {
	t.Helper()
	s := testSpec(t, root)
	s.Privileged, s.UIDMap, s.GIDMap = true, HostIDMap(), HostIDMap()
	return s
}

// TestPrivileged has the host's ids, and neither its devices nor its program.
func TestPrivileged(t *testing.T) {
	root := attemptRoot(t)
	disk := t.TempDir()
	s := privileged(t, root)
	s.Disks = []Disk{{Device: "data", Source: disk, Path: "/data", Mapped: true}}
	inst := start(t, s)
	script := `chmod 1777 /tmp; id -u; cat /proc/self/uid_map | tr -s ' '; grep -c . /proc/self/mountinfo >/dev/null
mknod /tmp/null c 1 3 && echo ok > /tmp/null && echo null
mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg
cat /image-kmsg
mknod /tmp/loop b 7 0 && cat /tmp/loop
for f in /sys/fs/cgroup/devices/devices.allow; do [ ! -e $f ] || echo a > $f; done; head -c 1 /tmp/kmsg
touch /data/of-root /root/of-root; su nobody -s /bin/sh -c 'id -u; touch /tmp/of-nobody'; hostname`
	out, code := run(t, inst, "", "sh", "-c", script)
	want := []string{"0\n 0 0 4294967295\nnull\n", "'/tmp/kmsg': Operation not permitted", "'/image-kmsg': Operation not permitted", "'/tmp/loop': Operation not permitted", "65534\n" + s.Name + "\n"}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("exit status %d, %q is missing in:\n%s", code, w, out)
		}
	}
	if n := strings.Count(out, "kmsg: Operation not permitted") + strings.Count(out, "kmsg': Operation not permitted"); n != 3 {
		t.Errorf("the kernel's log was refused %d times:\n%s", n, out)
	}
	for path, uid := range map[string]uint32{filepath.Join(disk, "of-root"): 0, filepath.Join(root, "root/of-root"): 0, filepath.Join(root, "tmp/of-nobody"): 65534} {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Uid != uid {
			t.Errorf("%s: %d, %v", path, st.Uid, err)
		}
	}
	if out, code := run(t, inst, "in\n", "sh", "-c", "cat; exit 7"); code != 7 || out != "in\n" {
		t.Errorf("exec: %d, %q", code, out)
	}
	if out, code := run(t, inst, "", "/not-there"); code != 127 || !strings.Contains(out, "no such file") {
		t.Errorf("exec of nothing: %d, %q", code, out)
	}
	if out, code := runWith(t, inst, "", ExecOptions{Args: []string{"id", "-u"}, UID: 65534}); code != 0 || out != "65534\n" {
		t.Errorf("exec as a user: %d, %q", code, out)
	}
	for _, name := range []string{"init_module", "bpf", "open_by_handle_at", "settimeofday"} {
		out, _ := runWith(t, inst, "", ExecOptions{Args: []string{"/attempt"}, Env: map[string]string{attemptEnv: name}})
		if !strings.HasPrefix(out, "contained: ") {
			t.Errorf("%s: %s", name, out)
		}
	}
	bad := privileged(t, root)
	bad.UIDMap = []IDMap{{0, 100000, 65536}}
	if err := Start(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "has the host's ids") {
		t.Errorf("a privileged one with other ids: %v", err)
	}
}

// TestHostProgram attacks this program's file from inside while it enters the
// instance, by a command and by an init that execute /proc/self/exe.
func TestHostProgram(t *testing.T) {
	before, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for name, spec := range map[string]func(*testing.T, string) Spec{"privileged": privileged, "not": func(t *testing.T, root string) Spec { return testSpec(t, root) }} {
		t.Run(name, func(t *testing.T) {
			inst := start(t, spec(t, attemptRoot(t)))
			watched := make(chan string, 1)
			go func() {
				out, _ := runWith(t, inst, "", ExecOptions{Args: []string{"/attempt"}, Env: map[string]string{attemptEnv: "watch-inside"}})
				watched <- out
			}()
			begin := time.Now()
			n := 0
			for ; time.Since(begin) < time.Second/2; n++ {
				if _, code := run(t, inst, "", "true"); code != 0 {
					t.Fatalf("true: %d", code)
				}
			}
			t.Logf("true took %v", time.Since(begin)/time.Duration(n))
			if out := <-watched; !strings.HasPrefix(out, "contained: ") {
				t.Errorf("while %d commands came in: %s", n, out)
			}
			if out, _ := runWith(t, inst, "", ExecOptions{Args: []string{"/evil"}, Env: map[string]string{attemptEnv: "exe"}}); name == "not" && !strings.HasPrefix(out, "contained: ") {
				t.Errorf("by a command: %s", out)
			}
			evil := attemptRoot(t)
			write(t, filepath.Join(evil, "evil-init"), "#!/proc/self/exe\n", 0o755)
			s := spec(t, evil)
			s.Init, s.Env = []string{"/evil-init"}, map[string]string{attemptEnv: "exe"}
			_ = Start(t.Context(), s) // it ends at once, before or after it is noticed
			eventually(t, "the init has made its attempt", 5*time.Second, func() bool {
				console, _ := os.ReadFile(s.ConsoleLog)
				return bytes.Contains(console, []byte("contained: ")) || name == "privileged" && len(console) > 0
			})
		})
	}
	after, err := os.ReadFile("/proc/self/exe")
	if err != nil || !bytes.Equal(before, after) {
		t.Fatalf("the program has changed: %v", err)
	}
}

// TestNesting mounts /proc and /sys in namespaces made inside.
func TestNesting(t *testing.T) {
	s := testSpec(t, attemptRoot(t))
	s.Nesting = true
	var err error
	if s.Filter, err = (seccomp.Policy{Nesting: true}).Compile(); err != nil {
		t.Fatal(err)
	}
	inst := start(t, s)
	for name, want := range map[string]string{"nested-proc": "succeeded", "keyctl": "succeeded", "bpf": "contained: ", "core_pattern": "contained: "} {
		out, _ := runWith(t, inst, "", ExecOptions{Args: []string{"/attempt"}, Env: map[string]string{attemptEnv: name}})
		if !strings.HasPrefix(out, want) {
			t.Errorf("%s: %s", name, out)
		}
	}
	if out, code := run(t, inst, "", "unshare", "-Urmnpf", "sh", "-c", "mount -t proc proc /proc && mount -t sysfs sys /sys && ls -d /proc/[0-9]* | wc -l && ls /sys/class/net"); code != 0 || !strings.HasSuffix(out, "\nlo\n") {
		t.Errorf("unshare: %d, %q", code, out)
	}
}

// TestSetDevices gives a running instance a device, and takes it away.
func TestSetDevices(t *testing.T) {
	s := privileged(t, busyboxRoot(t))
	kmsg := cgroup.Device{Type: 'c', Major: 1, Minor: 11, Access: "rw"}
	s.Devices = []cgroup.Device{kmsg}
	inst := start(t, s)
	try := func(want int) {
		t.Helper()
		if out, code := run(t, inst, "", "sh", "-c", "[ -e /k ] || mknod /k c 1 11; : < /k"); code != want {
			t.Errorf("exit status %d, want %d: %s", code, want, out)
		}
	}
	try(0)
	if err := inst.SetDevices(nil); err != nil {
		t.Fatal(err)
	}
	try(1)
	if err := inst.SetDevices([]cgroup.Device{kmsg}); err != nil {
		t.Fatal(err)
	}
	try(0)
}
