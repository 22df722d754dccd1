package pool

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// flagsIn are the flags of what is in an instance's root, or a snapshot's, as lsattr tells them.
func flagsIn(t *testing.T, s *System, ref string) string {
	t.Helper()
	p, _, err := s.findInstance(t.Context(), strings.SplitN(ref, "/", 2)[0])
	ok(t, err)
	path := p.InstancePath(ref)
	if name, snap, is := strings.Cut(ref, "/"); is {
		path, err = p.SnapshotPath(name, snap)
	}
	ok(t, err, p.close())
	out, err := exec.CommandContext(t.Context(), "bash", "-c", `cd "$0/rootfs" && lsattr -R . | grep -- ' ./' | tr -d - | LC_ALL=C sort -k2`, path).Output()
	ok(t, err)
	return strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", ", ")
}

func chattr(t *testing.T, flags string, paths ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "chattr", append([]string{flags}, paths...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("chattr %s: %v: %s", flags, err, out)
	}
}

// TestFlagsAreKept: the flags of files survive copies and moves to another pool, refreshes,
// streams in full and onto a parent, and optimized backups, in every state; what is
// immutable in a snapshot that a stream builds on is changed by it.
func TestFlagsAreKept(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	_, err := s.Create(ctx, CreateOptions{Name: "c1", Template: EmptyTemplate, Pool: "a"})
	ok(t, err)
	root := filepath.Join(s.dir.MountPoint("a"), "containers/c1/rootfs")
	bad := filepath.Join(root, "not\xfftext")
	ok(t, os.MkdirAll(root+"/d", 0o700), os.MkdirAll(root+"/etc", 0o700), os.WriteFile(root+"/fixed", []byte("1"), 0o600), os.WriteFile(root+"/log", []byte("1"), 0o600), os.WriteFile(bad, nil, 0o600),
		os.WriteFile(root+"/etc/machine-id", []byte(newMachineID()+"\n"), 0o444), btrfs.CreateSubvolume(root+"/d/sub"), os.WriteFile(root+"/d/sub/f", nil, 0o600), os.Mkdir(root+"/images", 0o700))
	chattr(t, "+i", root+"/fixed", root+"/etc/machine-id")
	chattr(t, "+ad", root+"/log")
	chattr(t, "+A", bad, root+"/d/sub/f")
	chattr(t, "+C", root+"/images")
	_, err = s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s0"})
	ok(t, err)
	chattr(t, "-i", root+"/fixed")
	ok(t, os.WriteFile(root+"/fixed", []byte("2"), 0o600))
	chattr(t, "+i", root+"/fixed")
	chattr(t, "-ad", root+"/log")
	chattr(t, "+i", root+"/etc")
	_, err = s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s1"})
	ok(t, err)
	chattr(t, "-i", root+"/etc")
	then, mid, now := flagsIn(t, s, "c1/s0"), flagsIn(t, s, "c1/s1"), flagsIn(t, s, "c1")
	if strings.Count(then, ",") < 6 || then == mid || mid == now {
		t.Fatalf("the flags are %s; %s; %s", then, mid, now)
	}
	check := func(how, name string, snapshots bool) {
		t.Helper()
		got := flagsIn(t, s, name)
		if got != now {
			t.Errorf("%s: it has %s, want %s", how, got, now)
		}
		if raw, err := os.ReadFile(filepath.Join(s.dir.MountPoint("b"), "containers", name, "rootfs/fixed")); err != nil || string(raw) != "2" {
			t.Errorf("%s: %q, %v", how, raw, err)
		}
		if !snapshots {
			return
		}
		for snap, want := range map[string]string{"s0": then, "s1": mid} {
			if got := flagsIn(t, s, name+"/"+snap); got != want {
				t.Errorf("%s: %s has %s, want %s", how, snap, got, want)
			}
		}
	}
	_, err = s.Copy(ctx, CopyOptions{Source: "c1", Snapshot: "s0", Name: "one", Pool: "b"})
	ok(t, err)
	_, err = s.Copy(ctx, CopyOptions{Source: "c1", Name: "copy", Pool: "b"})
	ok(t, err)
	check("copy", "copy", true)
	_, err = s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s2"})
	ok(t, err)
	chattr(t, "-i", root+"/fixed")
	ok(t, os.WriteFile(root+"/fixed", []byte("2"), 0o600))
	chattr(t, "+ia", root+"/fixed")
	now = flagsIn(t, s, "c1")
	_, err = s.Copy(ctx, CopyOptions{Source: "c1", Name: "copy", Refresh: true})
	ok(t, err)
	check("refresh", "copy", true)
	_, err = s.Receive(ctx, ReceiveOptions{Name: "r", Pool: "b"}, bytes.NewReader(sendOf(t, s, SendOptions{Instance: "c1", Snapshot: "s0"})))
	ok(t, err)
	for _, o := range []SendOptions{{Instance: "c1", Snapshot: "s1", Parent: "s0"}, {Instance: "c1", Parent: "s1"}} {
		_, err = s.Receive(ctx, ReceiveOptions{Name: "r", Force: true}, bytes.NewReader(sendOf(t, s, o)))
		ok(t, err)
	}
	check("receive", "r", true)
	backup := filepath.Join(t.TempDir(), "b")
	ok(t, s.ExportFile(ctx, ExportOptions{Instance: "c1", BackupOptions: BackupOptions{Optimized: true, Compression: "none"}}, backup, false))
	f, err := os.Open(backup)
	ok(t, err)
	_, err = s.Import(ctx, ImportOptions{Name: "i", Pool: "b"}, f)
	ok(t, err, f.Close())
	check("import", "i", true)
	ok(t, s.MoveInstance(ctx, MoveOptions{Source: "c1", Pool: "b"}))
	check("move", "c1", true)
	if err := os.WriteFile(filepath.Join(s.dir.MountPoint("b"), "containers/c1/rootfs/fixed"), nil, 0o600); !errors.Is(err, unix.EPERM) {
		t.Errorf("written to what is immutable: %v", err)
	}
	if checked, err := s.CheckPool(ctx, "b", nil); err != nil || len(checked.Problems) > 0 {
		t.Errorf("check: %+v, %v", checked, err)
	}
}
