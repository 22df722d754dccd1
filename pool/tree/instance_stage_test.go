package tree

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
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

// receiveInstance makes the instance c2, or the one in the place of which stage is, of send streams of c1.
func receiveInstance(p *Tree, stage func() (*InstanceStage, error)) (err error) {
	ctx := context.Background()
	in, err := p.Instance("c1")
	if err != nil {
		return err
	}
	in.Config["user.v"] = "received"
	frozen, err := p.FreezeInstance(ctx, Source{Name: "c1"}, []string{"s1", "s2"}, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, frozen.Close()) }()
	s, err := stage()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Abort()) }()
	for _, m := range frozen.Members() {
		var b bytes.Buffer
		if err := frozen.Send(ctx, m, &b); err != nil {
			return err
		}
		if err := s.Receive(ctx, m, &b); err != nil {
			return err
		}
	}
	if err := errors.Join(s.Assemble(ctx), s.Sync()); err != nil {
		return err
	}
	return s.Commit(ctx, in)
}

func receiveNew(p *Tree) error {
	return receiveInstance(p, func() (*InstanceStage, error) { return p.StageInstance(context.Background(), "c2") })
}

func receiveOver(p *Tree) error {
	return receiveInstance(p, func() (*InstanceStage, error) {
		return p.StageInstanceReplacement(context.Background(), "c2", false)
	})
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
