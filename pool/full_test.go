package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// fillUp writes to path, durably, until that fails, and returns why it did.
func fillUp(path string, block int) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	data := make([]byte, block)
	for n := 0; err == nil && n < 1<<30; n += block {
		if _, err = f.Write(data); err == nil {
			err = f.Sync()
		}
	}
	return errors.Join(err, f.Close())
}

// withPrecious makes the instance c1 with a file in it, and a snapshot of that.
func withPrecious(t *testing.T, s *System) {
	t.Helper()
	addInstance(t, s, "p", "c1")
	root := filepath.Join(s.dir.MountPoint("p"), "containers/c1/rootfs")
	err := errors.Join(os.Mkdir(root, 0o755), os.WriteFile(filepath.Join(root, "precious"), []byte("all of it"), 0o644))
	if err == nil {
		_, err = s.CreateSnapshot(t.Context(), SnapshotOptions{Instance: "c1", Name: "s0"})
	}
	if err := errors.Join(err, btrfs.Sync(s.dir.MountPoint("p"))); err != nil {
		t.Fatal(err)
	}
}

// isPrecious checks that what withPrecious made is there and can be worked with,
// and that nothing else is.
func isPrecious(t *testing.T, s *System) {
	t.Helper()
	ctx := t.Context()
	mp := s.dir.MountPoint("p")
	for _, dir := range []string{"containers/c1", "containers-snapshots/c1/s0"} {
		if raw, err := os.ReadFile(filepath.Join(mp, dir, "rootfs/precious")); string(raw) != "all of it" {
			t.Errorf("%s: %q, %v", dir, raw, err)
		}
	}
	all, err := s.Instances(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range all {
		if in.Problem != "" {
			t.Errorf("%s is listed but does not work: %s", in.Name, in.Problem)
		}
		if in.Name != "c1" {
			if err := s.Delete(ctx, in.Name, false); err != nil {
				t.Error(err)
			}
		}
	}
	if snaps, err := s.Snapshots(ctx, "c1"); err != nil || len(snaps) == 0 || snaps[0].Name != "s0" {
		t.Errorf("snapshots: %+v, %v", snaps, err)
	}
	if entries, err := os.ReadDir(filepath.Join(mp, ".poolctl/staging")); err != nil || len(entries) != 0 {
		t.Errorf("left in the staging directory: %v, %v", entries, err)
	}
	_, err = s.Copy(ctx, CopyOptions{Source: "c1", Name: "again"})
	if err := errors.Join(err, s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "s0"}), s.Delete(ctx, "again", false)); err != nil {
		t.Errorf("it cannot be worked with: %v", err)
	}
}

// tryAll does what writes to a pool, and checks that what fails says why.
func tryAll(t *testing.T, s *System) (failed int) {
	t.Helper()
	ctx := t.Context()
	for name, op := range map[string]func() error{
		"snapshot": func() error { _, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: ""}); return err },
		"copy":     func() error { _, err := s.Copy(ctx, CopyOptions{Source: "c1"}); return err },
		"restore":  func() error { return s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "s0"}) },
		"image": func() error {
			p, err := s.openPool(ctx, "p")
			if err != nil {
				return err
			}
			stage, err := p.StageImage(ctx)
			if err != nil {
				return errors.Join(err, p.close())
			}
			return errors.Join(fillUp(filepath.Join(stage.Dir(), "data"), 1<<20), stage.Abort(), p.close())
		},
	} {
		err := op()
		if err == nil {
			continue
		}
		failed++
		if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EIO) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), "\n") && name != "image" {
			t.Logf("%s: %v", name, err)
		}
	}
	return failed
}

// A pool that is full refuses, loses nothing, and is usable again when something
// in it is deleted.
func TestFullPool(t *testing.T) {
	for _, size := range []string{"120MiB", "300MiB"} { // mixed block groups, and not
		t.Run(size, func(t *testing.T) {
			s := newSystem(t)
			createPool(t, s, "p", map[string]string{"size": size})
			withPrecious(t, s)
			root := filepath.Join(s.dir.MountPoint("p"), "containers/c1/rootfs")
			if err := os.WriteFile(filepath.Join(root, "of s1"), make([]byte, 5<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := s.CreateSnapshot(t.Context(), SnapshotOptions{Instance: "c1", Name: "s1"})
			_, cerr := s.Copy(t.Context(), CopyOptions{Source: "c1", Name: "c2"})
			if err := errors.Join(err, cerr); err != nil {
				t.Fatal(err)
			}
			fill := func(name string) {
				for i, block := range []int{1 << 20, 64 << 10, 4096, 512} {
					if err := fillUp(filepath.Join(root, fmt.Sprint(name, i)), block); !errors.Is(err, unix.ENOSPC) {
						t.Fatalf("filling it: %v", err)
					}
				}
			}
			fill("fill")
			for range 3 {
				tryAll(t, s)
			}
			fill("again") // a restore has succeeded, in all likelihood: the records have room of their own
			if _, err := s.PoolInfo(t.Context(), "p"); err != nil {
				t.Error(err)
			}
			found := diagnosis(t, s, true)
			if len(found) != 1 || !strings.Contains(found[0].Problem, "nearly full") {
				t.Errorf("doctor: %s", printed(found))
			}
			// The way out: deleting, of what has snapshots and what shares all its data too.
			if err := s.Delete(t.Context(), "c2", false); err != nil {
				t.Errorf("deleting in a full pool: %v", err)
			}
			all, err := s.Snapshots(t.Context(), "c1")
			if err != nil {
				t.Fatal(err)
			}
			for _, sn := range all {
				if sn.Name != "s0" {
					err = errors.Join(err, s.DeleteSnapshot(t.Context(), "c1", sn.Name))
				}
			}
			if err != nil {
				t.Fatalf("deleting in a full pool: %v", err)
			}
			if snaps, err := s.Snapshots(t.Context(), "c1"); err != nil || len(snaps) != 1 {
				t.Errorf("snapshots after their deletion: %+v, %v", snaps, err)
			}
			for i := range 4 {
				for _, name := range []string{"fill", "again"} {
					ok(t, ignoreNotExist(os.Remove(filepath.Join(root, fmt.Sprint(name, i)))))
				}
			}
			if err := btrfs.Sync(s.dir.MountPoint("p")); err != nil {
				t.Fatal(err)
			}
			isPrecious(t, s)
			raw, err := os.ReadFile(filepath.Join(s.dir.MountPoint("p"), "containers/c1/backup.yaml"))
			if err != nil || strings.Contains(string(raw), `"s1"`) {
				t.Errorf("the record should not list s1: %s, %v", raw, err)
			}
		})
	}
}

// A host that has no room left for the pool's file makes btrfs give the pool up,
// in the middle of whatever is going on. The pool says so and why; with room made
// and attached anew, all that was there is there, and usable.
func TestFullHost(t *testing.T) {
	for _, left := range []int64{0, 1 << 20, 8 << 20, 20 << 20} {
		t.Run(FormatSize(left), func(t *testing.T) {
			s := newSystem(t)
			ctx := t.Context()
			host := t.TempDir()
			if err := unix.Mount("tmpfs", host, "tmpfs", 0, "size=200m"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := errors.Join(s.DeletePool(context.Background(), "p", true), unix.Unmount(host, 0)); err != nil {
					t.Error(err)
				}
			})
			createPool(t, s, "p", map[string]string{"size": "1GiB", "source": filepath.Join(host, "p.img")})
			withPrecious(t, s)
			var st unix.Statfs_t
			if err := unix.Statfs(host, &st); err != nil {
				t.Fatal(err)
			}
			ballast, err := os.Create(filepath.Join(host, "ballast"))
			if err == nil {
				err = errors.Join(unix.Fallocate(int(ballast.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-left), ballast.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			failed := tryAll(t, s)
			if err := fillUp(filepath.Join(s.dir.MountPoint("p"), "containers/c1/rootfs/big"), 1<<20); err == nil {
				t.Error("everything was written")
			}
			failed += tryAll(t, s)
			if failed == 0 {
				t.Error("nothing failed")
			}
			found := diagnosis(t, s, true)
			if !strings.Contains(printed(found), "full") && !strings.Contains(printed(found), "only 0B free") || len(found) == 0 {
				t.Errorf("doctor: %s", printed(found))
			}
			t.Logf("doctor with %s left: %s", FormatSize(left), printed(found))
			if _, err := s.Pools(ctx); err != nil {
				t.Error(err)
			}
			if err := os.Remove(filepath.Join(host, "ballast")); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.DetachPool(ctx, "p"), s.AttachPool(ctx, "p")); err != nil {
				t.Fatal(err)
			}
			isPrecious(t, s)
		})
	}
}
