package runtime

import (
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// attemptRoot is a root filesystem with this test binary and what an evil image
// may have.
func attemptRoot(t *testing.T) string {
	t.Helper()
	root := busyboxRoot(t)
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "attempt"), string(exe), 0o755)
	copyLibraries(t, root)
	write(t, filepath.Join(root, "evil"), "#!/proc/self/exe\n", 0o755)
	if err := unix.Mknod(filepath.Join(root, "image-kmsg"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 11))); err != nil {
		t.Fatal(err)
	}
	return root
}

// copyLibraries puts what this test binary is linked with into root, if anything.
func copyLibraries(t *testing.T, root string) {
	t.Helper()
	file, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	section := file.Section(".interp")
	if section == nil {
		return
	}
	loader, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{strings.TrimRight(string(loader), "\x00")}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if f := strings.Fields(line); len(f) == 6 && strings.Contains(f[5], ".so") && !slices.Contains(paths, f[5]) {
			paths = append(paths, f[5])
		}
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// The loader where the binary looks for it, the others where that does.
		to := filepath.Join(root, path)
		if path != paths[0] {
			to = filepath.Join(root, "lib", filepath.Base(path))
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, to, string(data), 0o755)
	}
}

// TestEscapes makes every attempt of escapes as the root of an instance with
// default settings, and looks at the host afterwards.
func TestEscapes(t *testing.T) {
	root, other := onBtrfs(t, attemptRoot(t))
	inst := start(t, testSpec(t, root))
	canary := filepath.Join(t.TempDir(), "canary")
	write(t, canary, "of the host\n", 0o644)
	l, err := net.Listen("unix", "@"+escapeName)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	documented, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	before := hostState(t)
	count := 0
	for _, e := range escapes() {
		if strings.HasSuffix(e.name, "-inside") {
			continue
		}
		count++
		if !strings.Contains(string(documented), "- `"+e.name+"`: "+e.what+"\n") {
			t.Errorf("docs/security.md does not have %s: %s", e.name, e.what)
		}
		program := "/attempt"
		if e.name == "exe" {
			program = "/evil"
		}
		env := map[string]string{attemptEnv: e.name, hostPIDEnv: itoa(os.Getpid()), canaryEnv: canary, subvolumeEnv: subvolumeID(t, other)}
		out, code := runWith(t, inst, "", ExecOptions{Args: []string{program}, Env: env})
		out = strings.TrimSpace(out)
		if code != 0 || !strings.HasPrefix(out, "contained: ") && (!e.harmless || out != "succeeded") {
			t.Errorf("%s: %s: %s (exit status %d)", e.name, e.what, out, code)
		}
		if testing.Verbose() {
			t.Logf("%s: %s: %s", e.name, e.what, out)
		}
		if after := hostState(t); after != before {
			t.Fatalf("%s: the host has changed:\n%s\nbefore:\n%s", e.name, after, before)
		}
	}
	checkOther(t, other)
	if count < 80 {
		t.Errorf("there were %d attempts", count)
	}
	if out, code := run(t, inst, "", "echo", "well"); code != 0 || out != "well\n" {
		t.Errorf("afterwards: %d, %q", code, out)
	}
}

// hostState is what the attempts would change.
func hostState(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, path := range []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname",
		"/proc/sys/kernel/sysrq", "/proc/sys/kernel/panic", "/proc/sys/vm/panic_on_oom", "/proc/sys/vm/overcommit_memory", "/proc/sys/fs/suid_dumpable",
		"/proc/swaps", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/memory/release_agent",
	} {
		data, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s: %s\n", path, strings.TrimSpace(string(data)))
	}
	if _, err := os.Lstat("/proc/sys/fs/binfmt_misc/" + escapeName); err == nil {
		b.WriteString("a binary format is registered\n")
	}
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = exe.Close() }()
	st, err := exe.Stat()
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 1<<16)
	if _, err := io.ReadFull(exe, head); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "program: %v %d %x\n", st.Mode(), st.Size(), sha256.Sum256(head))
	return b.String()
}
