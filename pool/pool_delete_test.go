package pool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// Without force no pool goes with something in it that is not poolctl's: virtual machines of LXD's are users, the rest is
// named.
func TestDeleteSparesWhatIsNotOurs(t *testing.T) {
	fs := ownersFS(t)
	dev, _ := newDevice(t, 300<<20)
	for kind, source := range map[string]string{state.PoolFile: "", state.PoolDevice: dev, state.PoolDirectory: filepath.Join(fs, "pool")} {
		t.Run(kind, func(t *testing.T) {
			s := newSystem(t)
			config := map[string]string{}
			if source != "" {
				config["source"] = source
			}
			createPool(t, s, "x", config)
			mnt := s.dir.MountPoint("x")
			for path, sub := range map[string]bool{
				"virtual-machines/vm1": true, "virtual-machines-snapshots/vm1/s0": true, "virtual-machines/notes": false, "buckets/default_b1": true,
				"custom/afile": false, "custom/sub": true, "images/file": false, "containers/file": false, "containers-snapshots/file": false,
				"containers-snapshots/gone/s1": true, "containers/x.lxdtmp": true, "mydata.txt": false, "mydata": true,
			} {
				t.Run(filepath.ToSlash(path), func(t *testing.T) { checkSpared(t, s, filepath.Join(mnt, path), path, sub, kind) })
			}
			if err := s.DeletePool(t.Context(), "x", false); err != nil {
				t.Errorf("an empty pool: %v", err)
			}
		})
	}
}

// checkSpared puts something into the pool x, sees that it is not deleted, and takes it away.
func checkSpared(t *testing.T, s *System, at, path string, sub bool, kind string) {
	t.Helper()
	ok(t, os.MkdirAll(filepath.Dir(at), 0o700))
	if sub {
		ok(t, btrfs.CreateSubvolume(at))
	} else {
		ok(t, os.WriteFile(at, []byte("precious"), 0o600))
	}
	want := path
	switch {
	case path == "virtual-machines/vm1":
		want = "virtual machine vm1"
	case strings.HasPrefix(path, "virtual-machines-snapshots"):
		ok(t, btrfs.CreateSubvolume(s.dir.MountPoint("x")+"/virtual-machines/vm1"))
		want = "virtual machine vm1, snapshot vm1/s0"
	}
	if kind == state.PoolDirectory && !strings.Contains(path, "/") {
		return // stays: TestDeleteDirectoryLeavesOthersFiles
	}
	if err := s.DeletePool(t.Context(), "x", false); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), want) {
		t.Errorf("DeletePool() = %v, want one that names %q", err, want)
	}
	if _, err := os.Lstat(at); err != nil {
		t.Fatal(err)
	}
	if pools, err := s.Pools(t.Context()); err != nil || len(pools[0].UsedBy) != strings.Count(want, "vm1") && strings.HasPrefix(want, "virtual machine") {
		t.Errorf("used_by: %+v, %v", pools, err)
	}
	if sub {
		ok(t, btrfs.DeleteSubvolume(at))
	} else {
		ok(t, os.Remove(at))
	}
	if strings.HasPrefix(path, "virtual-machines-snapshots") {
		ok(t, btrfs.DeleteSubvolume(s.dir.MountPoint("x")+"/virtual-machines/vm1"))
	}
}

// With force what others put into the directories of a pool in a subvolume stays as well.
func TestForcedDeleteOfDirectoryLeavesOthersFiles(t *testing.T) {
	fs := ownersFS(t)
	s := newSystem(t)
	source := filepath.Join(fs, "pool")
	createPool(t, s, "x", map[string]string{"source": source})
	addInstance(t, s, "x", "c1")
	if _, err := s.CreateSnapshot(t.Context(), SnapshotOptions{Instance: "c1", Name: "s1"}); err != nil {
		t.Fatal(err)
	}
	file := func(path string) error { return os.WriteFile(filepath.Join(source, path), []byte("precious"), 0o600) }
	ok(t, btrfs.CreateSubvolume(source+"/virtual-machines/vm1"), os.Mkdir(source+"/virtual-machines-snapshots/vm1", 0o700), btrfs.CreateSubvolume(source+"/virtual-machines-snapshots/vm1/s0"), btrfs.CreateSubvolume(source+"/buckets/default_b1"), btrfs.CreateSubvolume(source+"/images/sub"),
		file("custom/afile"), file("buckets/default_b1/x"), file("containers-snapshots/c1/note"), os.Mkdir(source+"/virtual-machines/vmx", 0o700), os.Symlink("/etc", source+"/containers/link"))
	if err := s.DeletePool(t.Context(), "x", true); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		"": "buckets containers containers-snapshots custom images virtual-machines virtual-machines-snapshots", "buckets/default_b1": "x", "custom": "afile", "containers": "link",
		"containers-snapshots/c1": "note", "images": "sub", "virtual-machines": "vm1 vmx", "virtual-machines-snapshots/vm1": "s0",
	} {
		if got := names(t, filepath.Join(source, dir)); got != want {
			t.Errorf("in %q is left %q, want %q", dir, got, want)
		}
	}
}

// What is in the way of deleting a pool is named, the first few of it.
func TestDeleteNamesUsers(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "x", nil)
	createVolume(t, s, "x", "v", nil)
	addInstance(t, s, "x", "c0")
	for i := 1; i < 8; i++ {
		_, err := s.Copy(t.Context(), CopyOptions{Source: "c0", Name: fmt.Sprintf("c%d", i)})
		ok(t, err)
	}
	if err := s.DeletePool(t.Context(), "x", false); err == nil || !strings.Contains(err.Error(), "in it: instance c0, instance c1, instance c2, instance c3, instance c4 and 5 more") {
		t.Error(err)
	}
	for i := range 8 {
		ok(t, s.Delete(t.Context(), fmt.Sprintf("c%d", i), false))
	}
	if err := s.DeletePool(t.Context(), "x", false); err == nil || !strings.Contains(err.Error(), "in it: volume v, image 0123456789ab") {
		t.Error(err)
	}
}
