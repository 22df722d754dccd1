package pool

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// told is all that the System has told the user of since.
func told(s *System) *string {
	text := new(string)
	s.notice = func(l string) { *text += l + "\n" }
	return text
}

// A file that is moved, removed or replaced while its pool is attached is told of
// by list and info, and nothing is lost: the next attach finds a moved one.
func TestFileMovedWhileAttached(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	img := s.dir.DiskFile("p")
	moved := filepath.Join(s.dir.Root, "moved to.img")
	if err := os.Rename(img, moved); err != nil {
		t.Fatal(err)
	}
	text := told(s)
	if _, err := s.Pools(ctx); err != nil || !strings.Contains(*text, "pool p: its file was moved to "+moved) {
		t.Errorf("list: %v, told %q", err, *text)
	}
	info, err := s.PoolInfo(ctx, "p")
	if err != nil || info.File.Problem != "its file was moved to "+moved || info.File.Size != 256<<20 || len(info.Loop) != 1 || len(info.Strangers) != 0 {
		t.Errorf("info: %+v, %+v, %v", info.File, info, err)
	}
	// A stranger is found although the file is elsewhere.
	dev := losetup(t, moved)
	if info, err := s.PoolInfo(ctx, "p"); err != nil || len(info.Strangers) != 1 || info.Strangers[0].Device != dev {
		t.Errorf("info with a stranger: %+v, %v", info.Strangers, err)
	}
	if err := exec.Command("losetup", "-d", dev).Run(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(img, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := s.PoolInfo(ctx, "p"); err != nil || !strings.HasSuffix(info.File.Problem, "; another file is at "+img) {
		t.Errorf("info with another file: %+v, %v", info.File, err)
	}
	if err := s.AttachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if info, err := s.PoolInfo(ctx, "p"); err != nil || info.File.Path != moved || info.File.Problem != "" || info.Pool.Config["source"] != moved {
		t.Errorf("after attach: %+v, %v", info, err)
	}
	if err := errors.Join(s.DetachPool(ctx, "p"), s.AttachPool(ctx, "p"), s.DeletePool(ctx, "p", false)); err != nil {
		t.Error(err)
	}
	if raw, err := os.ReadFile(img); string(raw) != "precious" {
		t.Errorf("the other file: %q, %v", raw, err)
	}
	if _, err := os.Stat(moved); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pool's file after its deletion: %v", err)
	}
}

// A file moved while its pool is detached is found where the user says, if it is
// the pool, and not a copy of it.
func TestAttachPoolFrom(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	createPool(t, s, "q", nil)
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	img, moved := s.dir.DiskFile("p"), filepath.Join(s.dir.Root, "moved.img")
	other := filepath.Join(s.dir.Root, "other")
	if err := os.WriteFile(other, []byte("no pool"), 0o600); err != nil {
		t.Fatal(err)
	}
	copyFile(t, img, moved)
	for path, want := range map[string]string{
		moved: "it is a copy: the pool is still at " + img, other: "no btrfs", s.dir.DiskFile("q"): "another file system",
		s.dir.Root: "no regular file", filepath.Join(s.dir.Root, "none"): "no such file",
	} {
		if err := s.AttachPoolFrom(ctx, "p", path); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "cannot attach pool p from "+path) {
			t.Errorf("from %s: %v, want %q", path, err, want)
		}
	}
	if err := errors.Join(os.Remove(moved), os.Rename(img, moved)); err != nil {
		t.Fatal(err)
	}
	if err := s.AttachPool(ctx, "p"); err == nil || !strings.Contains(hint(err), "--source") {
		t.Errorf("at its old place: %v", err)
	}
	if err := s.AttachPoolFrom(ctx, "p", moved); err != nil {
		t.Fatal(err)
	}
	if err := s.AttachPoolFrom(ctx, "p", moved); err != nil {
		t.Errorf("again: %v", err)
	}
	copyFile(t, moved, img)
	if err := s.AttachPoolFrom(ctx, "p", img); err == nil || !strings.Contains(err.Error(), "copy") {
		t.Errorf("a copy of what is attached: %v", err)
	}
	if info, err := s.PoolInfo(ctx, "p"); err != nil || info.File.Path != moved || !info.Attached {
		t.Errorf("%+v, %v", info, err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "--sparse=always", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
}

// What the refusal to detach a pool whose file was removed says to do works, word
// for word; an old copy in the file's place does not count.
func TestRemovedFileIsSaved(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	img, mp := s.dir.DiskFile("p"), s.dir.MountPoint("p")
	old := filepath.Join(s.dir.Root, "old.img")
	copyFile(t, img, old)
	if err := errors.Join(os.WriteFile(filepath.Join(mp, "custom/precious"), []byte("all of it"), 0o600), os.Rename(old, img)); err != nil {
		t.Fatal(err)
	}
	info, err := s.PoolInfo(ctx, "p")
	if err != nil || !strings.Contains(info.File.Problem, "was removed") || !strings.HasSuffix(info.File.Problem, "; another file is at "+img) {
		t.Errorf("info: %+v, %v", info.File, err)
	}
	err = s.DetachPool(ctx, "p")
	if err == nil || !strings.Contains(err.Error(), "the end of all that is in it") {
		t.Fatalf("detach with an old copy in the file's place: %v", err)
	}
	if err := s.DeletePool(ctx, "p", false); err == nil {
		t.Error("deleted without force")
	}
	if err := os.Remove(img); err != nil {
		t.Fatal(err)
	}
	advice, _, ok := strings.Cut(hint(err), " && poolctl")
	_, advice, ok2 := strings.Cut(advice, "save it: ")
	if !ok || !ok2 {
		t.Fatalf("hint: %q", hint(err))
	}
	if out, err := exec.Command("sh", "-ec", advice).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", advice, err, out)
	}
	if err := errors.Join(s.DetachPool(ctx, "p"), s.AttachPool(ctx, "p")); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(filepath.Join(mp, "custom/precious")); string(raw) != "all of it" {
		t.Errorf("after that: %q, %v", raw, err)
	}
}
