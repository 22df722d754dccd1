package pool

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// A volume that is made of one with a size, or of its snapshot, has the size that its own configuration says.
func TestVolumeLimitIsNotInherited(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	for _, mode := range []string{simpleHere(t, s), "qgroups"} {
		createPool(t, s, "p", map[string]string{"size": "512MiB", quotasKey: mode})
		createVolume(t, s, "p", "v", map[string]string{"size": "10MiB"})
		holds := func(what, volume string, mib int) {
			t.Helper()
			path := s.volumeFile("p", volume, "big")
			err := os.WriteFile(path, make([]byte, mib<<20), 0o600)
			ok(t, os.Remove(path), btrfs.Sync(s.dir.MountPoint("p")))
			if mib > 10 && err != nil || mib == 10 && !errors.Is(err, unix.EDQUOT) {
				t.Errorf("%s, %s: wrote %d MiB: %v", mode, what, mib, err)
			}
		}
		holds("the source", "v", 10)
		_, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: "p", Volume: "v", Name: "s0"})
		ok(t, err, s.UpdateVolume(ctx, "p", "v", func(put *VolumePut) error { delete(put.Config, "size"); return nil }))
		holds("unset", "v", 20)
		ok(t, s.RestoreVolume(ctx, RestoreVolumeOptions{Pool: "p", Volume: "v", Snapshot: "s0"}))
		holds("restored after that", "v", 20)
		ok(t, s.CopyVolume(ctx, CopyVolumeOptions{Pool: "p", Volume: "v", ToPool: "p", Name: "w"}))
		holds("a copy", "w", 20)
		ok(t, s.CopyVolume(ctx, CopyVolumeOptions{Pool: "p", Volume: "v", Snapshot: "s0", ToPool: "p", Name: "x"}))
		holds("a copy of the snapshot, which has its configuration", "x", 10)
		finds(t, s, false)
		ok(t, s.DeletePool(ctx, "p", true))
	}
}
