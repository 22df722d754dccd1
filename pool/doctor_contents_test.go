package pool

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/tree"
)

// Sizes that the kernel does not hold, or counts wrongly, are told of and set.
func TestDoctorSizes(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	for _, mode := range []string{simpleHere(t, s), "qgroups"} {
		createPool(t, s, "p", map[string]string{"size": "512MiB", quotasKey: mode})
		addInstance(t, s, "p", "c1")
		createVolume(t, s, "p", "v", map[string]string{"size": "20MiB"})
		mp := s.dir.MountPoint("p")
		c1 := filepath.Join(mp, "containers/c1")
		ok(t, s.AddInstanceDevice(ctx, "c1", "root", rootDisk("p", "")))
		_, err := s.Copy(ctx, CopyOptions{Source: "c1", Name: "c2"})
		ok(t, err, s.SetInstanceDevice(ctx, "c1", "root", map[string]string{"size": "20MiB"}))
		finds(t, s, false)

		set := func(path string, size int64) {
			t.Helper()
			p, err := tree.Open(mp)
			ok(t, err, p.SetLimit(ctx, path, size), p.Close())
		}
		// What takes more than its size is held, and nothing is to be done.
		over := s.volumeFile("p", "v", "over")
		ok(t, os.WriteFile(over, make([]byte, 8<<20), 0o600), s.UpdateVolume(ctx, "p", "v", func(v *VolumePut) error { v.Config["size"] = "10MiB"; return nil }))
		_, err = s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: "p", Volume: "v", Name: "large"})
		ok(t, err, os.Remove(over), btrfs.Sync(mp), s.UpdateVolume(ctx, "p", "v", func(v *VolumePut) error { v.Config["size"] = "1MiB"; return nil }),
			s.RestoreVolume(ctx, RestoreVolumeOptions{Pool: "p", Volume: "v", Snapshot: "large"}))
		if err := os.WriteFile(over+"2", make([]byte, 1<<20), 0o600); !errors.Is(err, unix.EDQUOT) {
			t.Errorf("%s: written into what is too large: %v", mode, err)
		}
		finds(t, s, false)
		ok(t, os.RemoveAll(over+"2"), os.Remove(over), s.DeleteVolumeSnapshot(ctx, "p", "v", "large"), btrfs.Sync(mp),
			s.UpdateVolume(ctx, "p", "v", func(v *VolumePut) error { v.Config["size"] = "20MiB"; return nil }))

		set(c1, 0)
		set(s.volumeFile("p", "v", ""), 0)
		held := func(done string) []want {
			return []want{
				{"warning", "instance c1", "its size, 20MiB, is not held", "poolctl doctor --fix", done},
				{"warning", "volume p/v", "its size, 20MiB, is not held", "poolctl doctor --fix", done},
			}
		}
		finds(t, s, false, held("")...)
		finds(t, s, true, held("the limit was set")...)
		finds(t, s, false)
		wantSize(t, s, "p", "c1", mode+": set again", 20)

		set(filepath.Join(mp, "containers/c2"), 10<<20)
		ended := want{"warning", "instance c2", "it has no size, and cannot take more than ", "poolctl doctor --fix ends", ""}
		finds(t, s, false, ended)
		ended.done = "the limit was ended"
		finds(t, s, true, ended)
		finds(t, s, false)

		if mode == "qgroups" {
			// A subvolume that came up, and then the kernel gives up counting: what is in a qgroup of level 1 is snapshotted.
			ok(t, btrfs.CreateSubvolume(c1+"/a b"), os.WriteFile(c1+"/a b/file", make([]byte, 4<<20), 0o600), btrfs.Sync(mp))
			nested := want{"warning", "instance c1", "subvolumes nested in it do not count", "poolctl doctor --fix", ""}
			finds(t, s, false, nested)
			nested.done = "the limit was set"
			finds(t, s, true, nested)
			finds(t, s, false)
			ok(t, btrfs.Snapshot(c1+"/a b", mp+"/elsewhere", true))
			if st, err := btrfs.Quota(mp); err != nil || !st.Inconsistent {
				t.Fatalf("the kernel still counts: %+v, %v", st, err)
			}
			lost := want{"warning", "pool p", "what its quotas have counted is not right any more", "btrfs quota rescan " + mp, ""}
			finds(t, s, false, lost)
			lost.done = "it was counted anew"
			finds(t, s, true, lost)
			finds(t, s, false)
			wantSize(t, s, "p", "c1", "counted anew", 16)
			ok(t, btrfs.DeleteSubvolume(mp+"/elsewhere"))
		}
		setPool(t, s, "p", map[string]string{quotasKey: "none"})
		finds(t, s, true, want{"warning", "pool p", "its quotas are off, and the sizes in it are not held: c1, volume v", "poolctl pool set p btrfs.quotas=qgroups", ""})
		ok(t, s.DeletePool(ctx, "p", true))
	}
}

// Volumes whose record cannot be read or is all that is left, disks whose volume is gone, snapshots of what is gone.
func TestDoctorVolumes(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	addInstance(t, s, "p", "c1")
	mp := s.dir.MountPoint("p")
	for _, name := range []string{"v", "w x"} {
		createVolume(t, s, "p", name, nil)
	}
	_, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: "p", Volume: "w x", Name: "s0"})
	ok(t, err, s.AddInstanceDevice(ctx, "c1", "root", rootDisk("p", "")), s.AddInstanceDevice(ctx, "c1", "data", map[string]string{"type": "disk", "pool": "p", "source": "v", "path": "/data"}))
	finds(t, s, false)

	record := filepath.Join(mp, ".poolctl/volumes/default_v.json")
	good, err := os.ReadFile(record)
	ok(t, err, os.WriteFile(record, []byte("{"), 0o600))
	finds(t, s, true, want{"error", "volume p/v", "it cannot be used: " + record + " is damaged", "move that file away", ""})
	ok(t, os.WriteFile(record, good, 0o600))

	// Somebody deletes the volume.
	ok(t, btrfs.DeleteSubvolume(mp+"/custom/default_v"))
	missing := want{"warning", "instance c1", "its disk data cannot be mounted: there is no volume v in pool p", "poolctl config device remove c1 data", ""}
	lost := want{"warning", "volume p/v", "its record is there, and it is gone", "poolctl doctor --fix", ""}
	finds(t, s, false, missing, lost)
	unlock, err := s.dir.LockVolume(ctx, "p", "v") // as who makes it has
	ok(t, err)
	finds(t, s, true, missing)
	unlock()
	lost.done = "it was forgotten"
	finds(t, s, true, missing, lost)
	finds(t, s, false, missing)
	if _, err := os.Lstat(record); !os.IsNotExist(err) {
		t.Errorf("the record is there: %v", err)
	}
	ok(t, s.RemoveInstanceDevice(ctx, "c1", "data"))

	ok(t, btrfs.DeleteSubvolume(mp+"/custom/default_w x"))
	finds(t, s, true, want{"warning", "volume p/w x", "it is gone: somebody has deleted its subvolume, but for 1 snapshots", mp + "/custom-snapshots/default_w x", ""})
	ok(t, btrfs.DeleteSubvolume(mp+"/custom-snapshots/default_w x/s0"))
	finds(t, s, true, want{"warning", "volume p/w x", "it is gone", "", "it was forgotten"})
	ok(t, os.Mkdir(mp+"/containers-snapshots/gone", 0o700), btrfs.CreateSubvolume(mp+"/containers-snapshots/gone/it's"))
	finds(t, s, true, want{"warning", "pool p", `"containers-snapshots/gone/it's" in it is left over`, "btrfs subvolume delete '" + mp + `/containers-snapshots/gone/it'\''s'`, ""})
	ok(t, btrfs.DeleteSubvolume(mp+"/containers-snapshots/gone/it's"))
	finds(t, s, false)
}
