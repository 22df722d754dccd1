package runtime

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// alpineImage is a real image of the shared fixtures, with the tool that unpacks it.
type alpineImage struct {
	name, file string
	unpack     func(file, dir string) *exec.Cmd
	rootfs     string
}

// alpineImages boot openrc by busybox init.
var alpineImages = []alpineImage{
	{"3.8", "alpinelinux/3.8/amd64/default/20220731_1101/rootfs.squashfs", func(file, dir string) *exec.Cmd {
		return exec.Command("unsquashfs", "-n", "-q", "-d", filepath.Join(dir, "rootfs"), file)
	}, "rootfs"},
	{"3.13", "alpine/v3.13/amd64/default/20210218_0139/lxd_combined.tar.gz", func(file, dir string) *exec.Cmd {
		return exec.Command("tar", "-C", dir, "-xzf", file)
	}, "rootfs"},
}

// sharedDir holds the fixtures shared by all packages: POOLCTL_SHARED, or the
// directory "shared" beside the module's root.
func sharedDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("POOLCTL_SHARED"); dir != "" {
		return dir
	}
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(filepath.Dir(filepath.Dir(strings.TrimSpace(string(out)))), "shared")
}

// alpineRoot unpacks an image and returns its root.
func alpineRoot(t testing.TB, img alpineImage) string {
	t.Helper()
	file := filepath.Join(sharedDir(t), "fixtures/simplestreams/local-real/images", img.file)
	dir := t.TempDir()
	if out, err := img.unpack(file, dir).CombinedOutput(); err != nil {
		t.Fatalf("cannot unpack the image: %v: %s", err, out)
	}
	return filepath.Join(dir, img.rootfs)
}

// openrcRoot is the root of the newest of them.
func openrcRoot(t testing.TB) string {
	t.Helper()
	return alpineRoot(t, alpineImages[len(alpineImages)-1])
}

// TestAlpine boots real images, and stops them cleanly.
func TestAlpine(t *testing.T) {
	for _, img := range alpineImages {
		t.Run(img.name, func(t *testing.T) {
			t.Parallel()
			s := testSpec(t, alpineRoot(t, img))
			begin := time.Now()
			inst := start(t, s)
			started := time.Since(begin)
			eventually(t, "openrc reaches the default runlevel", 20*time.Second, func() bool {
				out, code := run(t, inst, "", "rc-status", "-r")
				return code == 0 && strings.TrimSpace(out) == "default"
			})
			t.Logf("started in %v, default runlevel after %v", started, time.Since(begin))
			out, code := run(t, inst, "", "rc-status", "-a")
			t.Logf("rc-status: %d\n%s", code, out)
			out, _ = run(t, inst, "", "ps", "-ef")
			t.Logf("ps:\n%s", out)
			begin = time.Now()
			if err := inst.Stop(t.Context(), StopOptions{Timeout: patient(10 * time.Second)}); err != nil {
				t.Fatal(err)
			}
			console, err := os.ReadFile(s.ConsoleLog)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("stopped in %v\nconsole:\n%s", time.Since(begin), console)
		})
	}
}
