package tree

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/fixtures/testfs"
)

const mib = 1 << 20

// bothModes runs a test on a pool with simple quotas and on one with full qgroups.
func bothModes(t *testing.T, test func(t *testing.T, p *testPool)) {
	for _, mode := range []btrfs.QuotaMode{btrfs.QuotaSimple, btrfs.QuotaFull} {
		t.Run(mode.String(), func(t *testing.T) {
			p := newPool(t)
			err := btrfs.EnableQuota(p.mnt, mode)
			if errors.Is(err, btrfs.ErrSimpleQuota) {
				testfs.NeedKernel(t, 6, 7, err)
			}
			must(t, err, btrfs.RescanQuota(t.Context(), p.mnt))
			test(t, p)
		})
	}
}

// grow appends to a file until it fails, at most max bytes, and returns how many it wrote.
func grow(t *testing.T, path string, max int64) (written int64, err error) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if errors.Is(err, unix.EDQUOT) {
		return 0, err
	}
	must(t, err)
	block := []byte(strings.Repeat("0123456789abcdef", 4096))
	for err == nil && written < max {
		var n int
		n, err = f.Write(block)
		written += int64(n)
	}
	return written, errors.Join(err, f.Sync(), f.Close())
}

// wantStop checks that writing into a volume ends at about want bytes: not more, and not much less.
func wantStop(t *testing.T, what, path string, want int64) {
	t.Helper()
	n, err := grow(t, path, 4*want+mib)
	if !errors.Is(err, unix.EDQUOT) || n > want || n < want-2*mib {
		t.Errorf("%s: wrote %d bytes until %v; want the limit at %d", what, n, err, want)
	}
}

// bigImage is an image with 6 MiB in it.
func bigImage(t *testing.T, p *testPool) {
	t.Helper()
	s, err := p.StageImage(t.Context())
	must(t, err, fillImage(s.Dir()))
	_, err = grow(t, s.Dir()+"/rootfs/big", 6*mib)
	must(t, err, s.CommitImage(t.Context(), ImageRecord{Fingerprint: fingerprint, Architecture: "x86_64", Type: "container", Size: 7}), s.Abort())
}

func limited(name string, size int64) Instance {
	in := newInstance(name)
	in.Limit = size
	return in
}

// keep is what a caller of RestoreSnapshot says to keep a limit.
func keep(size int64) RestoreOptions {
	return RestoreOptions{Adapt: func(_ Instance, restored *Instance) error { restored.Limit = size; return nil }}
}

// A size is what is in the instance, the image's bytes and nested subvolumes included, its snapshots not, in both modes; and
// it stays when it is restored or copied.
func TestLimit(t *testing.T) {
	bothModes(t, func(t *testing.T, p *testPool) {
		bigImage(t, p)
		ctx := t.Context()
		must(t, p.CreateInstance(ctx, limited("c1", 20*mib), fingerprint))
		root := p.InstancePath("c1") + "/rootfs"
		wantStop(t, "the image's bytes count", root+"/data", 14*mib)
		// The record is written although there is no room for it.
		_, err := p.UpdateInstance("c1", func(in *Instance) error { in.Config["user.big"] = strings.Repeat("x", 100<<10); return nil })
		must(t, err, os.Remove(root+"/data"), btrfs.Sync(p.mnt))
		_, err = grow(t, root+"/data", 4*mib)
		must(t, err, snapshot(p.Tree, "s1"))
		_, err = p.KeepLimit(ctx, p.InstancePath("c1"), 20*mib)
		must(t, err)
		wantStop(t, "after a snapshot", root+"/more", 10*mib)
		must(t, p.RestoreSnapshot(ctx, "c1", "s1", keep(20*mib)))
		wantStop(t, "after a restore", root+"/more", 10*mib)
		must(t, os.Remove(root+"/more"), os.Remove(root+"/data"), btrfs.Sync(p.mnt))

		// What only the snapshot has does not count.
		_, err = p.KeepLimit(ctx, p.InstancePath("c1"), 20*mib)
		must(t, err)
		wantStop(t, "beside a snapshot", root+"/data", 14*mib)
		must(t, os.Remove(root+"/data"), btrfs.Sync(p.mnt))

		must(t, p.CopyInstance(ctx, limited("c2", 20*mib), CopyOptions{Source: Source{Name: "c1"}}))
		wantStop(t, "the copy", p.InstancePath("c2")+"/rootfs/data", 14*mib)
		must(t, p.SetLimit(ctx, p.InstancePath("c1"), 12*mib))
		wantStop(t, "made smaller", root+"/data", 6*mib)
		must(t, p.SetLimit(ctx, p.InstancePath("c1"), 16*mib))
		wantStop(t, "made larger", root+"/data", 4*mib)
		must(t, p.SetLimit(ctx, p.InstancePath("c1"), 0))
		if n, err := grow(t, root+"/data", 24*mib); err != nil {
			t.Errorf("without a limit: wrote %d, %v", n, err)
		}
		checkQgroups(t, p.Tree)
	})
}

func TestLimitNested(t *testing.T) {
	bothModes(t, func(t *testing.T, p *testPool) {
		bigImage(t, p)
		ctx := t.Context()
		must(t, p.CreateInstance(ctx, newInstance("c1"), fingerprint))
		volume := p.InstancePath("c1")
		must(t, nest(volume), p.SetLimit(ctx, volume, 20*mib))
		wantStop(t, "in a nested subvolume", volume+"/rootfs/a b/data", 14*mib)
		if n, err := grow(t, volume+"/rootfs/data", mib); !errors.Is(err, unix.EDQUOT) {
			t.Errorf("what is nested left room: wrote %d, %v", n, err)
		}
		must(t, os.Remove(volume+"/rootfs/a b/data"), btrfs.Sync(p.mnt), snapshot(p.Tree, "s1"))
		_, err := p.KeepLimit(ctx, volume, 20*mib)
		must(t, err, btrfs.CreateSubvolume(volume+"/rootfs/new"))
		if st, err := btrfs.Quota(p.mnt); err == nil && st.Mode == btrfs.QuotaFull {
			_, err = p.KeepLimit(ctx, volume, 20*mib) // the kernel does it with simple quotas only
			must(t, err)
		}
		wantStop(t, "in a new one", volume+"/rootfs/new/data", 14*mib)
		must(t, p.RestoreSnapshot(ctx, "c1", "s1", keep(20*mib)))
		wantStop(t, "in a restored one", volume+"/rootfs/a b/data", 14*mib)
		must(t, p.SetLimit(ctx, volume, 0), p.DeleteInstance(ctx, "c1"))
		checkQgroups(t, p.Tree)
	})
}

// A volume that is made of another one, or of its snapshot, has no limit of that one's.
func TestLimitIsNotInherited(t *testing.T) {
	bothModes(t, func(t *testing.T, p *testPool) {
		bigImage(t, p)
		ctx := t.Context()
		free := func(what, name string) {
			t.Helper()
			if n, err := grow(t, p.InstancePath(name)+"/rootfs/data", 24*mib); err != nil {
				t.Errorf("%s: wrote %d bytes until %v", what, n, err)
			}
			if limit, err := p.Limit(p.InstancePath(name)); limit != 0 || err != nil {
				t.Errorf("%s: limit %d, %v", what, limit, err)
			}
		}
		must(t, p.CreateInstance(ctx, limited("c1", 20*mib), fingerprint), p.CreateSnapshot(ctx, "c1", "s1", SnapshotOptions{}))
		must(t, p.CopyInstance(ctx, newInstance("c2"), CopyOptions{Source: Source{Name: "c1", Snapshots: true}}))
		free("a copy", "c2")
		must(t, p.CopyInstance(ctx, newInstance("c3"), CopyOptions{Source: Source{Name: "c1", Snapshot: "s1"}}))
		free("a copy of a snapshot", "c3")
		must(t, p.RestoreSnapshot(ctx, "c2", "s1", RestoreOptions{}))
		free("a copy restored", "c2")
		must(t, p.SetLimit(ctx, p.InstancePath("c1"), 0), p.RestoreSnapshot(ctx, "c1", "s1", RestoreOptions{}))
		free("restored after the limit ended", "c1")
	})
}

func TestLimitRefused(t *testing.T) {
	p := newPool(t)
	must(t, importImage(p.Tree, fingerprint), p.CreateInstance(t.Context(), newInstance("c1"), fingerprint))
	if err := p.SetLimit(t.Context(), p.InstancePath("c1"), mib); !errors.Is(err, ErrNoQuota) {
		t.Errorf("without quotas: %v", err)
	}
	must(t, p.SetLimit(t.Context(), p.InstancePath("c1"), 0))
	if err := p.CreateInstance(t.Context(), limited("c2", mib), fingerprint); !errors.Is(err, ErrNoQuota) {
		t.Errorf("created without quotas: %v", err)
	}
	bothModes(t, func(t *testing.T, p *testPool) {
		bigImage(t, p)
		ctx := t.Context()
		var over *OverLimitError
		if err := p.CreateInstance(ctx, limited("c1", 5*mib), fingerprint); !errors.As(err, &over) || over.Used < 6*mib {
			t.Errorf("smaller than the image: %v", err)
		}
		if _, err := os.Lstat(p.InstancePath("c1")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it is there: %v", err)
		}
		must(t, p.CreateInstance(ctx, newInstance("c1"), fingerprint))
		if err := p.SetLimit(ctx, p.InstancePath("c1"), 5*mib); !errors.As(err, &over) {
			t.Errorf("smaller than what is there: %v", err)
		}
		if limit, err := p.Limit(p.InstancePath("c1")); limit != 0 || err != nil {
			t.Errorf("what was refused left a limit: %d, %v", limit, err)
		}
		must(t, p.SetLimit(ctx, p.InstancePath("c1"), 10*mib))
		before, err := p.Limit(p.InstancePath("c1"))
		must(t, err)
		if err := p.SetLimit(ctx, p.InstancePath("c1"), 5*mib); !errors.As(err, &over) {
			t.Errorf("smaller than what is there: %v", err)
		}
		if limit, err := p.Limit(p.InstancePath("c1")); limit != before || err != nil {
			t.Errorf("what was refused changed the limit from %d to %d, %v", before, limit, err)
		}
		if over, err := p.KeepLimit(ctx, p.InstancePath("c1"), 5*mib); !over || err != nil {
			t.Errorf("kept: %v, %v", over, err)
		}
		if n, err := grow(t, p.InstancePath("c1")+"/rootfs/x", mib); !errors.Is(err, unix.EDQUOT) {
			t.Errorf("wrote %d more, %v", n, err)
		}
		must(t, os.Remove(p.InstancePath("c1")+"/rootfs/big"))
	})
}

// What is over its limit can be started, stopped, snapshotted, restored and deleted: its records and templates are written.
func TestOverLimit(t *testing.T) {
	bothModes(t, func(t *testing.T, p *testPool) {
		ctx := t.Context()
		bigImage(t, p)
		must(t, p.CreateInstance(ctx, limited("c1", 20*mib), fingerprint), p.CreateInstance(ctx, newInstance("c2"), fingerprint))
		for _, name := range []string{"c1", "c2"} {
			volume := p.InstancePath(name)
			if name == "c1" { // then the limit is on a qgroup of level 1 in either mode
				must(t, btrfs.CreateSubvolume(volume+"/rootfs/nested"))
			}
			_, err := grow(t, volume+"/rootfs/data", 4*mib)
			must(t, err)
			if over, err := p.KeepLimit(ctx, volume, 5*mib); !over || err != nil {
				t.Fatalf("%s is kept: %v, %v", name, over, err)
			}
			before, err := p.Limit(volume)
			must(t, err)
			if _, err := grow(t, volume+"/rootfs/x", mib); !errors.Is(err, unix.EDQUOT) {
				t.Errorf("%s is not full: %v", name, err)
			}
			_, err = p.UpdateInstance(name, func(in *Instance) error { in.Config["user.x"] = strings.Repeat("x", 50<<10); return nil })
			must(t, err, p.CreateSnapshot(ctx, name, "s", SnapshotOptions{}))
			must(t, p.WithHeadroom(name, func() error { return os.WriteFile(volume+"/rootfs/hostname", []byte("c1"), 0o600) }))
			if after, err := p.Limit(volume); after != before || err != nil {
				t.Errorf("%s: the limit was %d and is %d, %v", name, before, after, err)
			}
			must(t, p.CopyInstance(ctx, newInstance("copy"), CopyOptions{Source: Source{Name: name, Snapshots: true}}), p.DeleteInstance(ctx, "copy"))
			must(t, p.RestoreSnapshot(ctx, name, "s", keep(5*mib)), p.DeleteSnapshot(ctx, name, "s"), p.DeleteInstance(ctx, name))
		}
		checkQgroups(t, p.Tree)
	})
}

// Neither instances that come and go, nor images that go before their instances, leave qgroups behind.
func TestNoQgroupsLeft(t *testing.T) {
	bothModes(t, func(t *testing.T, p *testPool) {
		ctx := t.Context()
		for i := range 6 {
			bigImage(t, p)
			name := fmt.Sprintf("c%d", i)
			must(t, p.CreateInstance(ctx, limited(name, 20*mib), fingerprint))
			must(t, btrfs.CreateSubvolume(p.InstancePath(name)+"/rootfs/nested"))
			must(t, p.CreateSnapshot(ctx, name, "s", SnapshotOptions{}), p.DeleteImage(ctx, fingerprint))
			_, err := grow(t, p.InstancePath(name)+"/rootfs/data", mib)
			must(t, err, p.RestoreSnapshot(ctx, name, "s", keep(20*mib)), p.DeleteInstance(ctx, name), p.PruneQgroups())
		}
		checkQgroups(t, p.Tree)
	})
}

// checkQgroups waits for the cleaner and wants, after a PruneQgroups, no qgroup of what is gone.
func checkQgroups(t *testing.T, tree *Tree) {
	t.Helper()
	if st, err := btrfs.Quota(tree.mnt); err != nil || st.Mode == btrfs.QuotaNone {
		must(t, err)
		return
	}
	var gone []string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		must(t, btrfs.Sync(tree.mnt))
		deleting, err := btrfs.Deleting(tree.mnt)
		must(t, err)
		if deleting {
			continue
		}
		must(t, btrfs.Sync(tree.mnt), tree.PruneQgroups())
		groups, err := btrfs.Qgroups(tree.mnt)
		must(t, err)
		live, err := btrfs.SubvolumeIDs(tree.mnt)
		must(t, err)
		newest := uint64(0)
		for id := range live {
			newest = max(newest, id)
		}
		gone = nil
		for id, g := range groups {
			// What somebody still has counts for who wrote it, and the newest may be in the making.
			kept := id.Level() == 0 && (g.Referenced > 0 || id.Number() > newest)
			if id.Number() >= subvolInode && !live[id.Number()] && !kept {
				gone = append(gone, fmt.Sprintf("%s: %+v", id, g))
			}
		}
		if len(gone) == 0 {
			return
		}
	}
	t.Errorf("qgroups of what is gone are left:\n%s", strings.Join(gone, "\n"))
}
