package runtime

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"poolctl/runtime/cgroup"
	"poolctl/runtime/seccomp"
)

func TestMain(m *testing.M) {
	Main(testHooks())
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of package runtime must be run as root: they make namespaces, cgroups and mounts")
		os.Exit(1)
	}
	if helper() {
		return
	}
	os.Exit(m.Run())
}

// busyboxRoot makes a small root filesystem of the host's static busybox.
func busyboxRoot(t testing.TB) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "rootfs")
	for _, dir := range []string{"bin", "sbin", "etc", "dev", "proc", "sys", "root", "tmp", "usr/bin", "usr/sbin", "run"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("busybox-static is required: %v", err)
	}
	write(t, filepath.Join(root, "bin/busybox"), string(data), 0o755)
	out, err := exec.Command("/bin/busybox", "--list-full").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range strings.Fields(string(out)) {
		link := filepath.Join(root, f)
		if f != "bin/busybox" && (strings.HasPrefix(f, "bin/") || strings.HasPrefix(f, "sbin/") || strings.HasPrefix(f, "usr/")) {
			if err := os.Symlink("/bin/busybox", link); err != nil && !errors.Is(err, os.ErrExist) {
				t.Fatal(err)
			}
		}
	}
	write(t, filepath.Join(root, "etc/inittab"), "::sysinit:/bin/echo hello from init\n::respawn:/bin/sleep 1000\n::shutdown:/bin/echo going down\n", 0o644)
	write(t, filepath.Join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", 0o644)
	write(t, filepath.Join(root, "etc/group"), "root:x:0:\n", 0o644)
	return root
}

func write(t testing.TB, path, data string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), mode); err != nil {
		t.Fatal(err)
	}
}

// testSpec is an instance of a root filesystem, of which nothing is left after
// the test.
func testSpec(t testing.TB, root string) Spec {
	t.Helper()
	var id [4]byte
	_, _ = rand.Read(id[:])
	name := "rt-" + hex.EncodeToString(id[:])
	uids, gids, err := DefaultIDMap()
	if err != nil {
		t.Fatal(err)
	}
	filter, err := seccomp.Policy{}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := Spec{
		Filter: filter,
		Name:   name, Hostname: name, Rootfs: root, RunDir: filepath.Join(dir, "run", name),
		Cgroup: "/poolctl-test/" + name + "/" + name, UIDMap: uids, GIDMap: gids,
		LogFile: filepath.Join(dir, "log"), ConsoleLog: filepath.Join(dir, "console"),
	}
	t.Cleanup(func() {
		if inst, err := Open(s.RunDir); err == nil {
			if err := inst.Stop(context.Background(), StopOptions{Force: true}); err != nil {
				t.Errorf("cannot stop %s after the test: %v", name, err)
			}
			_ = inst.Close()
		}
		if log, _ := os.ReadFile(s.LogFile); len(log) > 0 {
			t.Logf("the supervisor's log:\n%s", log)
		}
		if t.Failed() {
			console, _ := os.ReadFile(s.ConsoleLog)
			t.Logf("the end of the console: %q", console[max(0, len(console)-4096):])
		}
		checkGone(t, s)
	})
	return s
}

// checkGone fails when anything of an instance is left.
func checkGone(t testing.TB, s Spec) {
	t.Helper()
	// A supervisor that ended by itself may still be at it.
	end := time.Now().Add(2 * time.Second)
	_, err := os.Lstat(s.RunDir)
	for ; err == nil && time.Now().Before(end); _, err = os.Lstat(s.RunDir) {
		time.Sleep(time.Millisecond)
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the run directory is left: %v", err)
	}
	layout, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	g, err := layout.Group(filepath.Dir(s.Cgroup))
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(2 * time.Second) // the supervisor's own goes last
	for g.Exists() && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if g.Exists() {
		names, _ := g.Children()
		t.Errorf("cgroup %s is left: %v", g.Path(), names)
	}
	left := leftOf(t, s)
	for left != "" && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
		left = leftOf(t, s)
	}
	if left != "" {
		t.Errorf("a process is left: %s", left)
	}
}

// leftOf names a supervisor or stage of the instance.
func leftOf(t testing.TB, s Spec) string {
	t.Helper()
	for pid, name := range stages(t) {
		if strings.Contains(name, s.Name) {
			return fmt.Sprintf("%d %s", pid, name)
		}
	}
	return ""
}

// stages lists supervisors and stages with their command lines.
func stages(t testing.TB) map[int]string {
	t.Helper()
	out := map[int]string{}
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		data, _ := os.ReadFile(d)
		cmd := strings.ReplaceAll(string(data), "\x00", " ")
		if strings.HasPrefix(cmd, "poolctl-") {
			var pid int
			_, _ = fmt.Sscanf(d, "/proc/%d/", &pid)
			out[pid] = cmd
		}
	}
	return out
}

// start starts an instance and opens it.
func start(t testing.TB, s Spec) *Instance {
	t.Helper()
	if err := Start(t.Context(), s); err != nil {
		t.Fatalf("Start: %v", err)
	}
	inst, err := Open(s.RunDir)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = inst.Close() })
	return inst
}

// run executes a command and returns what it writes and its exit code.
func run(t testing.TB, inst *Instance, stdin string, args ...string) (string, int) {
	t.Helper()
	return runWith(t, inst, stdin, ExecOptions{Args: args})
}

func runWith(t testing.TB, inst *Instance, stdin string, o ExecOptions) (string, int) {
	t.Helper()
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.WriteString(inW, stdin)
		_ = inW.Close()
	}()
	got := make(chan string, 1)
	go func() {
		data, _ := io.ReadAll(outR)
		got <- string(data)
	}()
	o.Stdin, o.Stdout, o.Stderr = inR, outW, outW
	code, err := inst.Exec(t.Context(), o)
	_, _ = inR.Close(), outW.Close()
	out := <-got
	_ = outR.Close()
	if err != nil {
		out += err.Error()
	}
	return out, code
}

// patient is a limit for what only has to come to an end: many times as long where
// $POOLCTL_TEST_PATIENCE says so, as scripts/test-vm does of a machine that is emulated.
func patient(limit time.Duration) time.Duration {
	if n, err := strconv.Atoi(os.Getenv("POOLCTL_TEST_PATIENCE")); err == nil && n > 1 {
		return limit * time.Duration(n)
	}
	return limit
}

// eventually waits for a condition, as long as limit is patient.
func eventually(t testing.TB, what string, limit time.Duration, cond func() bool) {
	t.Helper()
	limit = patient(limit)
	deadline := time.Now().Add(limit)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, limit)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// helperEnv makes this binary start an instance, for a test that kills it.
const helperEnv = "RUNTIME_TEST_START"

func helper() bool {
	if name := os.Getenv(attemptEnv); name != "" {
		fmt.Println(attempt(name))
		return true
	}
	data := os.Getenv(helperEnv)
	if data == "" {
		return false
	}
	var s Spec
	err := json.Unmarshal([]byte(data), &s)
	if err == nil {
		err = Start(context.Background(), s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func itoa(n int) string { return strconv.Itoa(n) }
