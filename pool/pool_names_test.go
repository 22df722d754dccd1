package pool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Names that cannot be a pool's are refused with the reason, others work, also
// as label of the file system and with a source of any name.
func TestPoolNamesAndSources(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	for _, name := range []string{"", " ", "a b", "a/b", "/", ".", "..", ".hidden", "-x", "ü", "a\nb", "a\x00b", strings.Repeat("a", 64), "größe", "a\\b", "💾"} {
		err := s.CreatePool(ctx, CreatePoolOptions{Name: name, Config: map[string]string{"size": "128MiB"}})
		if err == nil || !strings.HasPrefix(err.Error(), "cannot create pool") {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if left, err := os.ReadDir(s.dir.Disks()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	dir := filepath.Join(t.TempDir(), "a dir with spaces, ünïcode\nand \\040 \"quotes\"")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	shm, err := os.MkdirTemp("/dev/shm", "poolctl-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shm) })
	for name, source := range map[string]string{
		strings.Repeat("n", 63): filepath.Join(dir, "disk image.img"),
		"a.b_c-1":               filepath.Join(dir, "line\nbreak"),
		"shm":                   filepath.Join(shm, "x.img"), // in /dev, and no device
		"_x":                    filepath.Join(dir, strings.Repeat("l", 255)),
	} {
		createPool(t, s, name, map[string]string{"size": "128MiB", "source": source})
		if err := errors.Join(s.DetachPool(ctx, name), s.AttachPool(ctx, name)); err != nil {
			t.Errorf("%s on %q: %v", name, source, err)
		}
		if info, err := s.PoolInfo(ctx, name); err != nil || info.File.Path != source || len(info.Loop) != 1 || len(info.Strangers) != 0 {
			t.Errorf("%s on %q: %+v, %v", name, source, info, err)
		}
		if err := s.DeletePool(ctx, name, false); err != nil {
			t.Errorf("%s on %q: %v", name, source, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestDefaultPoolSize(t *testing.T) {
	const gib = int64(1) << 30
	for free, want := range map[int64]int64{
		1000 * gib: 30 * gib, 100 * gib: 20 * gib, 25 * gib: 5 * gib, 6 * gib: 5 * gib, 5 * gib: 5 * gib,
		3*gib + 5: 3 * gib, 200 << 20: 200 << 20, 10 << 20: minPoolSize,
	} {
		if got := defaultPoolSize(free); got != want {
			t.Errorf("with %s free: %s, want %s", FormatSize(free), FormatSize(got), FormatSize(want))
		}
	}
}
