package tree

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolctl/btrfs"
)

// fullInstance is an instance with nested subvolumes and two snapshots.
func fullInstance(p *Tree) error {
	return errors.Join(makeInstance(p), nest(p.InstancePath("c1")), snapshot(p, "s1"), setMark(p, "c1", "second"), snapshot(p, "s2"),
		setMark(p, "c1", "third"))
}

// twoInstances are a full instance, and a copy of it that went other ways.
func twoInstances(p *Tree) error {
	return errors.Join(fullInstance(p), copyInstance(p, "c2", CopyOptions{Source: Source{Name: "c1", Snapshots: true}}), setMark(p, "c2", "other"),
		p.CreateSnapshot(context.Background(), "c2", "own", SnapshotOptions{}), p.DeleteSnapshot(context.Background(), "c2", "s1"))
}

// refreshInstance has c2 become what from names.
func refreshInstance(p *Tree, from Source) error {
	in, err := p.Instance("c2")
	if err != nil {
		return err
	}
	in.Config["user.v"] = "refreshed"
	return p.RefreshInstance(context.Background(), in, CopyOptions{Source: from})
}

// sent counts what send streams had.
type sent struct {
	members []string
	bytes   int
}

// receiveInstance makes the instance c2, or the one in the place of which stage is, of send streams of c1 in p.
func receiveInstance(p *Tree, stage func() (*InstanceStage, error)) (out sent, err error) {
	ctx := context.Background()
	in, err := p.Instance("c1")
	if err != nil {
		return out, err
	}
	in.Config["user.v"] = "received"
	frozen, err := p.FreezeInstance(ctx, Source{Name: "c1"}, snapshotsOf(in), nil)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, frozen.Close()) }()
	s, err := stage()
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.Abort()) }()
	if err := s.Reuse(ctx, frozen); err != nil {
		return out, err
	}
	for _, m := range frozen.Members() {
		var b bytes.Buffer
		if err := frozen.Send(ctx, m, &b); err != nil {
			return out, err
		}
		out.members, out.bytes = append(out.members, m.Snapshot+m.Path), out.bytes+b.Len()
		if err := s.Receive(ctx, m, &b); err != nil {
			return out, err
		}
	}
	if err := errors.Join(s.Assemble(ctx), s.Sync()); err != nil {
		return out, err
	}
	return out, s.Commit(ctx, in)
}

func snapshotsOf(in Instance) []string {
	var names []string
	for _, s := range in.Snapshots {
		names = append(names, s.Name)
	}
	return names
}

func receiveNew(p *Tree) error {
	_, err := receiveInstance(p, func() (*InstanceStage, error) { return p.StageInstance(context.Background(), "c2") })
	return err
}

func receiveOver(p *Tree) error {
	_, err := receiveInstance(p, func() (*InstanceStage, error) {
		return p.StageInstanceReplacement(context.Background(), "c2", false)
	})
	return err
}

// goOn changes what receiveNew was made of: a snapshot comes, one goes, and so do nested subvolumes, in the place of which a
// directory is.
func goOn(p *Tree) error {
	nested := p.InstancePath("c1") + "/rootfs/a b"
	return errors.Join(p.DeleteSnapshot(context.Background(), "c1", "s1"), setMark(p, "c1", "fourth"), snapshot(p, "s3"),
		btrfs.DeleteTree(context.Background(), nested), os.Mkdir(nested, 0o750), os.WriteFile(nested+"/file", []byte("plain"), 0o600),
		setMark(p, "c1", "fifth"))
}

func init() {
	type op = struct {
		before func(*Tree) error
		run    func(*Tree) error
		points int
	}
	maps.Copy(crashOps, map[string]struct {
		before func(*Tree) error
		run    func(*Tree) error
		points int
	}{
		"instance receive":      op{fullInstance, receiveNew, 15},
		"instance receive over": op{twoInstances, receiveOver, 15},
		"instance receive more": op{func(p *Tree) error { return errors.Join(fullInstance(p), receiveNew(p), goOn(p)) }, receiveOver, 15},
		"instance replace":      op{twoInstances, func(p *Tree) error { return refreshInstance(p, Source{Name: "c1", Snapshots: true}) }, 9},
		"instance replace keep": op{twoInstances, func(p *Tree) error { return refreshInstance(p, Source{Name: "c1"}) }, 6},
	})
}

// TestReceiveInstance: what is made of streams is what they were made of.
func TestReceiveInstance(t *testing.T) {
	p := newPool(t)
	must(t, fullInstance(p.Tree), receiveNew(p.Tree))
	checkReceived(t, p)
	if err := receiveNew(p.Tree); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	must(t, setMark(p.Tree, "c2", "other"), p.DeleteSnapshot(t.Context(), "c2", "s2"), p.CreateSnapshot(t.Context(), "c2", "own", SnapshotOptions{}))
	must(t, receiveOver(p.Tree))
	checkReceived(t, p)
	must(t, p.DeleteInstance(t.Context(), "c1"), p.DeleteInstance(t.Context(), "c2"), p.DeleteImage(t.Context(), fingerprint))
	checkEmpty(t, p)
}

func checkReceived(t *testing.T, p *testPool) {
	t.Helper()
	in, err := p.Instance("c2")
	must(t, err)
	if len(in.Snapshots) != 2 || in.Snapshots[0].Name != "s1" || in.Config["user.v"] != "received" || readMark(t, p.InstancePath("c2")) != "third" {
		t.Errorf("%+v, mark %s", in, readMark(t, p.InstancePath("c2")))
	}
	if info, err := os.Stat(p.InstancePath("c2")); err != nil || info.Mode().Perm() != 0o100 {
		t.Errorf("%v, %v", info, err)
	}
	for snap, mark := range map[string]string{"": "third", "s1": "image", "s2": "second"} {
		from, to := p.InstancePath("c1"), p.InstancePath("c2")
		if snap != "" {
			from, to = p.snapshotPath("c1", snap), p.snapshotPath("c2", snap)
		}
		if got := readMark(t, to); got != mark {
			t.Errorf("%s: mark %s", snap, got)
		}
		if diff := cmp.Diff(subvolumesOf(t, from), subvolumesOf(t, to)); diff != "" {
			t.Errorf("%s: subvolumes (-source +received):\n%s", snap, diff)
		}
	}
}

// TestReceiveMore: only what is missing is sent, between pools, and back.
func TestReceiveMore(t *testing.T) {
	p, there := newPool(t), newPool(t)
	big := make([]byte, 4<<20)
	_, _ = rand.Read(big)
	must(t, fullInstance(p.Tree), os.WriteFile(p.InstancePath("c1")+"/rootfs/big", big, 0o600), snapshot(p.Tree, "big"))
	out, err := receiveInstance(p.Tree, func() (*InstanceStage, error) { return there.StageInstance(t.Context(), "c2") })
	must(t, err)
	if out.bytes < len(big) || len(out.members) != 12 {
		t.Errorf("sent %d bytes, of %q", out.bytes, out.members)
	}
	must(t, goOn(p.Tree), there.CreateSnapshot(t.Context(), "c2", "own", SnapshotOptions{}))
	for i, want := range []int{4, 1} {
		out, err = receiveInstance(p.Tree, func() (*InstanceStage, error) {
			return there.StageInstanceReplacement(t.Context(), "c2", false)
		})
		must(t, err)
		if out.bytes > 1<<20 || len(out.members) != want {
			t.Errorf("%d: sent %d bytes, of %q; want %d members", i, out.bytes, out.members, want)
		}
		in, err := there.Instance("c2")
		must(t, err)
		if names := snapshotsOf(in); !slices.Equal(names, []string{"s2", "big", "s3"}) {
			t.Errorf("%d: snapshots %q", i, names)
		}
		for at, path := range map[string]string{"s2": there.snapshotPath("c2", "s2"), "s3": there.snapshotPath("c2", "s3"), "": there.InstancePath("c2")} {
			from := p.InstancePath("c1")
			if at != "" {
				from = p.snapshotPath("c1", at)
			}
			if diff := cmp.Diff(subvolumesOf(t, from), subvolumesOf(t, path)); diff != "" || readMark(t, from) != readMark(t, path) {
				t.Errorf("%d: %s: mark %s, subvolumes (-source +received):\n%s", i, at, readMark(t, path), diff)
			}
		}
		checkVolumeFile(t, there.InstancePath("c2")+"/rootfs/a b/file", "plain")
	}
	must(t, there.RenameInstance("c2", "c1"), p.DeleteSnapshot(t.Context(), "c1", "s3"), p.RenameInstance("c1", "c2"))
	out, err = receiveInstance(there.Tree, func() (*InstanceStage, error) {
		return p.StageInstanceReplacement(t.Context(), "c2", false)
	})
	if err != nil || len(out.members) != 4 || out.bytes > 1<<20 {
		t.Errorf("back: sent %d bytes, of %q, %v", out.bytes, out.members, err)
	}
}

// TestRefreshInstance: the content, and the snapshots if they are taken along, become the source's.
func TestRefreshInstance(t *testing.T) {
	p := newPool(t)
	must(t, twoInstances(p.Tree), refreshInstance(p.Tree, Source{Name: "c1"}))
	in, err := p.Instance("c2")
	must(t, err)
	if mark := readMark(t, p.InstancePath("c2")); mark != "third" || in.Config["user.v"] != "refreshed" || len(in.Snapshots) != 2 || in.Snapshots[1].Name != "own" {
		t.Errorf("%s, %+v", mark, in)
	}
	must(t, refreshInstance(p.Tree, Source{Name: "c1", Snapshots: true}))
	if in, err = p.Instance("c2"); err != nil || len(in.Snapshots) != 2 || in.Snapshots[0].Name != "s1" || in.Snapshots[1].Name != "s2" {
		t.Errorf("%+v, %v", in, err)
	}
	must(t, refreshInstance(p.Tree, Source{Name: "c1", Snapshot: "s1"}))
	if mark := readMark(t, p.InstancePath("c2")); mark != "image" {
		t.Errorf("of a snapshot: %s", mark)
	}
	if _, err := p.StageInstanceReplacement(t.Context(), "none", false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("over none: %v", err)
	}
}
