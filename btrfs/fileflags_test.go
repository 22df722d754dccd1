package btrfs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// flagsOf is what ReadFlags finds, sorted as it is in the tree: "path flags".
func flagsOf(t *testing.T, path string) string {
	t.Helper()
	if err := Sync(path); err != nil {
		t.Fatal(err)
	}
	found, err := ReadFlags(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range found {
		out = append(out, string(f.Path)+" "+f.Flags)
	}
	return strings.Join(out, ", ")
}

// chattr has the program set flags, which is another implementation.
func chattr(t *testing.T, flags string, paths ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "chattr", append([]string{flags}, paths...)...).CombinedOutput(); err != nil {
		t.Fatalf("chattr %s: %v: %s", flags, err, out)
	}
}

// TestFileFlags reads the flags that chattr sets, takes those away that are in the way, and
// sets others.
func TestFileFlags(t *testing.T) {
	mnt := newFS(t)
	v := mnt + "/v"
	err := errors.Join(CreateSubvolume(v), os.MkdirAll(v+"/d/e", 0o700), os.WriteFile(v+"/d/fixed", []byte("x"), 0o600), os.WriteFile(v+"/d/log", []byte("x"), 0o600),
		os.WriteFile(v+"/d/e/many", nil, 0o600), os.WriteFile(v+"/plain", []byte("x"), 0o600), os.Mkdir(v+"/images", 0o700), os.Link(v+"/plain", v+"/other"),
		unix.Mknod(v+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), os.WriteFile(v+"/packed", nil, 0o600), //nolint:gosec // small
		unix.Setxattr(v+"/packed", propertyCompression, []byte("zstd"), 0))
	if err != nil {
		t.Fatal(err)
	}
	chattr(t, "+i", v+"/d/fixed")
	chattr(t, "+a", v+"/d/log")
	chattr(t, "+dASD", v+"/d/e")
	chattr(t, "+C", v+"/images")
	const all = "d/e SdAD, d/fixed i, d/log a, images C"
	if got := flagsOf(t, v); got != all {
		t.Fatalf("it has %s, want %s", got, all)
	}
	want, err := ReadFlags(v) // synced just now
	if err != nil {
		t.Fatal(err)
	}
	if err := DropProtection(v); err != nil || flagsOf(t, v) != "d/e SdAD, images C" {
		t.Errorf("without protection it has %s, %v", flagsOf(t, v), err)
	}
	// Other flags, of what is not there, of a device, of a way out too.
	more := append(want, FileFlags{[]byte("plain"), "iA"}, FileFlags{[]byte("gone"), "i"}, FileFlags{[]byte("null"), "i"}, FileFlags{[]byte("../x"), "i"}, FileFlags{[]byte("packed"), "Ai"})
	if err := os.WriteFile(mnt+"/x", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := SetFlags(v, more); err != nil {
		t.Fatal(err)
	}
	got := flagsOf(t, v)
	if !strings.HasPrefix(got, "d/e SdAD, d/fixed i, d/log a, ") || !strings.Contains(got, "images C") || !strings.Contains(got, "iA") || strings.Count(got, ",") != 5 || flagsOf(t, mnt) != "" {
		t.Errorf("it has %s, and around it %s", got, flagsOf(t, mnt))
	}
	how := make([]byte, 16)
	if n, err := unix.Getxattr(v+"/packed", propertyCompression, how); err != nil || string(how[:n]) != "zstd" {
		t.Errorf("the compression is %q, %v", how[:max(n, 0)], err)
	}
	if err := os.WriteFile(v+"/d/fixed", []byte("y"), 0o600); !errors.Is(err, unix.EPERM) {
		t.Errorf("written to what is immutable: %v", err)
	}
	f, err := os.Open(v + "/d/fixed")
	if err != nil {
		t.Fatal(err)
	}
	err = WithoutProtection(f, func() error { return os.WriteFile(filepath.Join(v, "d/fixed"), []byte("y"), 0o600) })
	if err = errors.Join(err, f.Close()); err != nil {
		t.Error(err)
	}
	if err := errors.Join(SetFlags(v, want), SetFlags(v, want)); err != nil || flagsOf(t, v) != all {
		t.Errorf("it has %s, %v; want %s", flagsOf(t, v), err, all)
	}
	if err := SetFlags(v, nil); err != nil || flagsOf(t, v) != "" {
		t.Errorf("it has %s, %v", flagsOf(t, v), err)
	}
}
