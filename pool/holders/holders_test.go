package holders

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "holders: the tests mount and look at other processes: run them as root")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// tmpfs mounts one until the test ends, and returns where, and the mount's id.
func tmpfs(t *testing.T) (dir string, id int) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "with space\nand line")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	own, err := Own(at(dir))
	if err != nil || len(own) != 1 {
		t.Fatalf("mounts at %q: %+v, %v", dir, own, err)
	}
	return dir, own[0].ID
}

func at(dir string) func(Mount) bool { return func(m Mount) bool { return m.MountPoint == dir } }

// start runs a shell command that prints "ready" and then waits, until the test ends.
func start(t *testing.T, args ...string) (pid int) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // read(1) fails at the end of its input
	})
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestMounts(t *testing.T) {
	dir, _ := tmpfs(t)
	pid := start(t, "unshare", "-m", "--propagation", "private", "sh", "-ec", `mount -t tmpfs -o ro,size=1m elsewhere "$1"; echo ready; read x`, "sh", dir)
	all, err := Mounts(at(dir))
	if err != nil || len(all) != 3 { // here, the copy of that in the other namespace, and what is on it there
		t.Fatalf("%+v, %v", all, err)
	}
	here, on := all[0], all[2]
	if here.PID != 0 || here.ReadOnly || here.String() != dir || here.FSType != "tmpfs" || here.Root != "/" {
		t.Errorf("here: %+v", here)
	}
	want := fmt.Sprintf("%s in the mount namespace of process %d (sh)", dir, pid)
	if on.PID != pid || !on.ReadOnly || on.Source != "elsewhere" || on.String() != want || on.Parent != all[1].ID || on.Dev == here.Dev {
		t.Errorf("in the other namespace: %+v", on)
	}
}

func TestProcesses(t *testing.T) {
	dir, id := tmpfs(t)
	onMount := func(l Link) bool { return l.OnMount(id) }
	if p, err := Processes(9, onMount); err != nil || len(p) != 0 {
		t.Errorf("nobody is in it: %+v, %v", p, err)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "nap"), program, 0o700); err != nil {
		t.Fatal(err)
	}
	want := map[int]string{
		start(t, "sh", "-ec", `cd "$1"; echo ready; read x`, "sh", dir):                                              "working directory " + dir,
		start(t, "sh", "-ec", `exec 7>"$1/gone"; rm "$1/gone"; echo ready; read x`, "sh", dir):                       "open file " + dir + "/gone (deleted)",
		start(t, "sh", "-ec", `echo ready; exec "$1/nap" 60`, "sh", dir):                                             "program " + dir + "/nap",
		start(t, "unshare", "-m", "--propagation", "private", "sh", "-ec", `cd "$1"; echo ready; read x`, "sh", dir): "", // on a mount of its own
	}
	for pid, how := range want {
		if strings.HasPrefix(how, "program") {
			proc, err := os.FindProcess(pid)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = proc.Kill() }()
			for range 1000 { // until it has executed it
				if exe, _ := os.Readlink(procPath(pid, "exe")); strings.HasSuffix(exe, "/nap") {
					break
				}
				_, _ = os.ReadFile(procPath(pid, "status"))
			}
		}
	}
	got, err := Processes(9, onMount)
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, p := range got {
		if how := p.How + " " + p.Path; want[p.PID] != how {
			t.Errorf("%s, want %q", p, want[p.PID])
		}
	}
	if few, err := Processes(2, onMount); err != nil || len(few) != 2 {
		t.Errorf("at most two: %+v, %v", few, err)
	}
}

func TestWritable(t *testing.T) {
	for text, want := range map[string]bool{
		"pos:\t0\nflags:\t0100002\nmnt_id:\t9\n": true, "pos:\t0\nflags:\t0100001\n": true, "pos:\t0\nflags:\t0100000\n": false,
		"": false, "flags:\n": false, "flags: 9\n": false, "pos:\t2\n": false,
	} {
		if got := writable(text); got != want {
			t.Errorf("writable(%q) = %v", text, got)
		}
	}
}
