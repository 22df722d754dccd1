package pool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"poolctl/pool/state"
	"poolctl/pool/tree"
	"poolctl/remotes"
)

// TestOddNames for what is not an instance, a snapshot or a pool.
func TestOddNamesOfOthers(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	if err := s.CreateVolume(ctx, CreateVolumeOptions{Pool: "p", Name: "v"}); err != nil {
		t.Fatal(err)
	}
	volumes := func() (out []string) {
		all, err := s.Volumes(ctx, "p", true)
		for _, v := range must(t, all, err) {
			if v.Type == volumeCustom {
				out = append(out, v.Name)
			}
		}
		return out
	}
	snapshots := func() (out []string) {
		all, err := s.VolumeSnapshots(ctx, "p", "v")
		for _, sn := range must(t, all, err) {
			out = append(out, sn.Name)
		}
		return out
	}
	deleteVolume := func(name string) error { return s.DeleteVolume(ctx, "p", name) }
	deleteSnapshot := func(name string) error { return s.DeleteVolumeSnapshot(ctx, "p", "v", name) }
	snapshot := func(name string) error {
		_, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: "p", Volume: "v", Name: name})
		return err
	}
	// renamed makes one under a good name and renames it; what cannot be renamed keeps its name, and goes.
	renamed := func(err error, rename func() error, remove func(name string) error) error {
		if err != nil {
			t.Fatal(err)
		}
		if err = rename(); err != nil {
			return errors.Join(err, remove("good"))
		}
		return nil
	}
	checkOddNames(t, s, map[string]namedKind{
		"volume": {func(name string) error { return s.CreateVolume(ctx, CreateVolumeOptions{Pool: "p", Name: name}) }, volumes, deleteVolume, "with space"},
		"copied volume": {func(name string) error {
			return s.CopyVolume(ctx, CopyVolumeOptions{Pool: "p", Volume: "v", ToPool: "p", Name: name})
		}, volumes, deleteVolume, "with space"},
		"renamed volume": {func(name string) error {
			return renamed(s.CreateVolume(ctx, CreateVolumeOptions{Pool: "p", Name: "good"}), func() error { return s.RenameVolume(ctx, "p", "good", name) }, deleteVolume)
		}, volumes, deleteVolume, "ünïcødé"},
		"volume snapshot": {snapshot, snapshots, deleteSnapshot, "ünïcødé"},
		"renamed volume snapshot": {func(name string) error {
			return renamed(snapshot("good"), func() error { return s.RenameVolumeSnapshot(ctx, "p", "v", "good", name) }, deleteSnapshot)
		}, snapshots, deleteSnapshot, "a.b"},
		"image alias": {func(alias string) error { return commitImage(s, alias) }, func() (out []string) {
			all, err := s.Images(ctx, "p")
			for _, im := range must(t, all, err) {
				for _, a := range im.Aliases {
					out = append(out, a.Name)
				}
			}
			return out
		}, func(alias string) error { return s.DeleteImage(ctx, alias) }, "a/b"},
		"remote": {func(name string) error {
			return s.AddRemote(ctx, remotes.Remote{Name: name, URL: "https://images.example.invalid/", Protocol: "simplestreams"})
		}, func() (out []string) {
			all, err := s.Remotes(ctx)
			for _, r := range must(t, all, err) {
				out = append(out, r.Name)
			}
			return out
		}, func(name string) error { return s.RemoveRemote(ctx, name) }, "ünïcødé"},
		"network": {func(name string) error {
			return s.CreateNetwork(ctx, name, map[string]string{"ipv4.address": "none", "ipv6.address": "none"}, "")
		}, func() (out []string) {
			all, err := s.Networks(ctx)
			for _, n := range must(t, all, err) {
				out = append(out, n.Name)
			}
			return out
		}, func(name string) error { return s.DeleteNetwork(ctx, name) }, "a.b"},
		"profile": {func(name string) error { return s.dir.SaveProfile(state.Profile{Name: name}) }, func() []string {
			all, err := s.dir.ListProfiles()
			return must(t, all, err)
		}, s.dir.DeleteProfile, "a.b"},
	})
	if left, err := os.ReadDir(s.journalDir()); err != nil || len(left) != 0 {
		t.Errorf("journal: %v, %v", left, err)
	}
}

// commitImage puts an image of an alias into the pool "p".
func commitImage(s *System, alias string) (err error) {
	ctx, sum := context.Background(), sha256.Sum256([]byte(alias))
	p, err := s.openPool(ctx, "p")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	stage, err := p.StageImage(ctx)
	if err != nil {
		return err
	}
	err = errors.Join(os.Mkdir(filepath.Join(stage.Dir(), "rootfs"), 0o755), os.WriteFile(filepath.Join(stage.Dir(), "metadata.yaml"), []byte("architecture: x86_64\ncreation_date: 1\n"), 0o600))
	if err == nil {
		err = stage.CommitImage(ctx, tree.ImageRecord{Fingerprint: hex.EncodeToString(sum[:]), Aliases: []string{alias}, Type: "container"})
	}
	if err = errors.Join(err, stage.Abort()); err != nil {
		return fmt.Errorf("cannot make an image: %w", err)
	}
	return nil
}
