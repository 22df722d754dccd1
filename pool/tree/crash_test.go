package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// crashOps are the operations that are killed at every one of their crash points. before makes the pool that they find.
var crashOps = map[string]struct {
	before func(*Tree) error
	run    func(*Tree) error
	// points is the least number of crash points the operation has: a test that kills nothing proves nothing.
	points int
}{
	"import": {
		before: func(*Tree) error { return nil },
		run:    func(p *Tree) error { return importImage(p, fingerprint) },
		points: 8,
	},
	"image delete": {
		before: func(p *Tree) error { return importImage(p, fingerprint) },
		run:    func(p *Tree) error { return p.DeleteImage(context.Background(), fingerprint) },
		points: 4,
	},
	"image delete nested": {
		before: func(p *Tree) error {
			volume := p.ImagePath(fingerprint)
			err := errors.Join(importImage(p, fingerprint), btrfs.SetReadOnly(volume, false), nest(volume))
			return errors.Join(err, btrfs.SetReadOnly(volume, true))
		},
		run:    func(p *Tree) error { return p.DeleteImage(context.Background(), fingerprint) },
		points: 7,
	},
	"image update": {
		before: func(p *Tree) error { return importImage(p, fingerprint) },
		run:    func(p *Tree) error { return changeImage(p, fingerprint) },
		points: 5,
	},
	"image replace": {
		before: func(p *Tree) error {
			err := errors.Join(importImage(p, fingerprint), importImage(p, other))
			return errors.Join(err, changeImage(p, fingerprint))
		},
		run: func(p *Tree) error {
			_, err := p.ReplaceImage(context.Background(), fingerprint, other)
			return err
		},
		points: 8,
	},
	"import of a new version": {
		before: func(p *Tree) error { return errors.Join(importImage(p, fingerprint), changeImage(p, fingerprint)) },
		run: func(p *Tree) error {
			old, err := p.Image(fingerprint)
			if err != nil {
				return err
			}
			return importAs(p, other, func(r *ImageRecord) { r.TakeOver(old) })
		},
		points: 15,
	},
	"import that takes aliases": {
		before: func(p *Tree) error {
			err := errors.Join(importImage(p, fingerprint), changeImage(p, fingerprint))
			return errors.Join(err, importAs(p, third, func(r *ImageRecord) { r.Aliases = []string{"only"} }))
		},
		run:    func(p *Tree) error { return importTaking(p, other, "mine", "only", "new") },
		points: 16,
	},
	"create": {
		before: func(p *Tree) error { return importImage(p, fingerprint) },
		run: func(p *Tree) error {
			return p.CreateInstance(context.Background(), newInstance("c1"), fingerprint)
		},
		points: 6,
	},
	"create of no image": {
		before: func(*Tree) error { return nil },
		run: func(p *Tree) error {
			return p.BuildInstance(context.Background(), newInstance("c1"), func(_ context.Context, dir string) error {
				return errors.Join(os.Mkdir(filepath.Join(dir, "rootfs"), 0o755), os.WriteFile(filepath.Join(dir, "rootfs/mark"), []byte("built\n"), 0o644))
			})
		},
		points: 8,
	},
	"copy": {
		before: func(p *Tree) error {
			return errors.Join(makeInstance(p), snapshot(p, "s1"), setMark(p, "c1", "later"), snapshot(p, "s2"))
		},
		run: func(p *Tree) error {
			return copyInstance(p, "c2", CopyOptions{Source: Source{Name: "c1", Snapshots: true}})
		},
		points: 12,
	},
	"copy nested": {
		before: func(p *Tree) error {
			err := makeInstance(p)
			return errors.Join(err, nest(p.InstancePath("c1")), snapshot(p, "s1"))
		},
		run: func(p *Tree) error {
			return copyInstance(p, "c2", CopyOptions{Source: Source{Name: "c1", Snapshots: true}})
		},
		points: 11,
	},
	"copy of a snapshot": {
		before: func(p *Tree) error {
			return errors.Join(makeInstance(p), snapshot(p, "s1"), setMark(p, "c1", "later"))
		},
		run: func(p *Tree) error {
			return copyInstance(p, "c2", CopyOptions{Source: Source{Name: "c1", Snapshot: "s1"}})
		},
		points: 6,
	},
	"update": {
		before: makeInstance,
		run: func(p *Tree) error {
			_, err := p.UpdateInstance("c1", func(in *Instance) error { in.Config["user.v"] = "2"; return nil })
			return err
		},
		points: 1,
	},
	"delete": {
		before: func(p *Tree) error { return errors.Join(makeInstance(p), snapshot(p, "s1"), snapshot(p, "s2")) },
		run:    func(p *Tree) error { return p.DeleteInstance(context.Background(), "c1") },
		points: 6,
	},
	"delete nested": {
		before: func(p *Tree) error {
			err := makeInstance(p)
			return errors.Join(err, nest(p.InstancePath("c1")), snapshot(p, "s1"))
		},
		run:    func(p *Tree) error { return p.DeleteInstance(context.Background(), "c1") },
		points: 6,
	},
	"snapshot": {
		before: makeInstance,
		run:    func(p *Tree) error { return snapshot(p, "s1") },
		points: 6,
	},
	"snapshot nested": {
		before: func(p *Tree) error {
			err := makeInstance(p)
			return errors.Join(err, nest(p.InstancePath("c1")), snapshot(p, "s0"))
		},
		run:    func(p *Tree) error { return snapshot(p, "s1") },
		points: 9,
	},
	"snapshot clone": {
		before: func(p *Tree) error {
			err := makeInstance(p)
			return errors.Join(err, nest(p.InstancePath("c1")), snapshot(p, "s1"))
		},
		run: func(p *Tree) error {
			c, err := p.CloneSnapshot(context.Background(), "c1", "s1")
			if err != nil {
				return err
			}
			return c.Close()
		},
		points: 7,
	},
	"snapshot delete": {
		before: func(p *Tree) error { return errors.Join(makeInstance(p), snapshot(p, "s1")) },
		run:    func(p *Tree) error { return p.DeleteSnapshot(context.Background(), "c1", "s1") },
		points: 5,
	},
	"snapshot delete nested": {
		before: func(p *Tree) error {
			err := makeInstance(p)
			return errors.Join(err, nest(p.InstancePath("c1")), snapshot(p, "s1"), snapshot(p, "s2"))
		},
		run:    func(p *Tree) error { return p.DeleteSnapshot(context.Background(), "c1", "s1") },
		points: 9,
	},
	"restore": {
		before: func(p *Tree) error {
			err := errors.Join(makeInstance(p), snapshot(p, "s1"), setMark(p, "c1", "later"))
			_, uerr := p.UpdateInstance("c1", func(in *Instance) error { in.Config["user.v"] = "2"; return nil })
			return errors.Join(err, uerr, snapshot(p, "s2"), setMark(p, "c1", "last"))
		},
		run:    func(p *Tree) error { return p.RestoreSnapshot(context.Background(), "c1", "s1", RestoreOptions{}) },
		points: 7,
	},
	"restore nested": {
		before: func(p *Tree) error {
			err := makeInstance(p)
			return errors.Join(err, nest(p.InstancePath("c1")), snapshot(p, "s1"), setMark(p, "c1", "later"))
		},
		run:    func(p *Tree) error { return p.RestoreSnapshot(context.Background(), "c1", "s1", RestoreOptions{}) },
		points: 7,
	},
	"restore keeping": {
		before: func(p *Tree) error { return errors.Join(makeInstance(p), snapshot(p, "s1"), setMark(p, "c1", "later")) },
		run: func(p *Tree) error {
			return p.KeepInstance(context.Background(), "c1", "kept", func() error { return snapshot(p, "kept") },
				func() error { return p.RestoreSnapshot(context.Background(), "c1", "s1", RestoreOptions{}) })
		},
		points: 16,
	},
	"snapshot rename": {
		before: func(p *Tree) error { return errors.Join(makeInstance(p), snapshot(p, "s1"), snapshot(p, "s2")) },
		run:    func(p *Tree) error { return p.RenameSnapshot(context.Background(), "c1", "s1", "s3") },
		points: 6,
	},
	"snapshot replace": {
		before: func(p *Tree) error { return errors.Join(makeInstance(p), snapshot(p, "s1"), setMark(p, "c1", "later")) },
		run:    func(p *Tree) error { return p.ReplaceSnapshot(context.Background(), "c1", "s1", SnapshotOptions{}) },
		points: 20,
	},
	"snapshot replace nested": {
		before: func(p *Tree) error {
			err := errors.Join(makeInstance(p), nest(p.InstancePath("c1")))
			return errors.Join(err, snapshot(p, "s1"), setMark(p, "c1", "later"))
		},
		run:    func(p *Tree) error { return p.ReplaceSnapshot(context.Background(), "c1", "s1", SnapshotOptions{}) },
		points: 25,
	},
	"create limited": {
		before: func(p *Tree) error {
			return errors.Join(btrfs.EnableQuota(p.mnt, btrfs.QuotaSimple), importImage(p, fingerprint))
		},
		run: func(p *Tree) error {
			in := newInstance("c1")
			in.Limit = 20 << 20
			return p.CreateInstance(context.Background(), in, fingerprint)
		},
		points: 8,
	},
	"restore limited": {
		before: func(p *Tree) error {
			err := errors.Join(btrfs.EnableQuota(p.mnt, btrfs.QuotaSimple), makeInstance(p), nest(p.InstancePath("c1")))
			return errors.Join(err, p.SetLimit(context.Background(), p.InstancePath("c1"), 20<<20), snapshot(p, "s1"), setMark(p, "c1", "later"))
		},
		run: func(p *Tree) error {
			keep := func(_ Instance, restored *Instance) error { restored.Limit = 20 << 20; return nil }
			return p.RestoreSnapshot(context.Background(), "c1", "s1", RestoreOptions{Adapt: keep})
		},
		points: 9,
	},
	// recover is what the test itself kills while it recovers.
	"recover": {before: makeInstance, run: func(p *Tree) error { return p.Recover(context.Background()) }},
}

// importTaking imports an image that takes aliases from others.
func importTaking(p *Tree, fp string, aliases ...string) error {
	ctx := context.Background()
	taking, err := p.TakeAliases(ctx, fp, aliases)
	if err != nil {
		return err
	}
	var claimed error
	if err := errors.Join(importAs(p, fp, func(r *ImageRecord) { r.Aliases = nil; claimed = taking.Claim(r) }), claimed); err != nil {
		return taking.End(err)
	}
	losers, err := taking.Losers()
	for _, l := range losers {
		err = errors.Join(err, taking.Lose(ctx, l))
	}
	return taking.End(err)
}

func makeInstance(p *Tree) error {
	return errors.Join(importImage(p, fingerprint), p.CreateInstance(context.Background(), newInstance("c1"), fingerprint))
}

func snapshot(p *Tree, name string) error {
	return p.CreateSnapshot(context.Background(), "c1", name, SnapshotOptions{})
}

// copyInstance copies as o says, and has "user.v" say so, also in the snapshots.
func copyInstance(p *Tree, name string, o CopyOptions) error {
	in := newInstance(name)
	in.Config["user.v"] = "copy"
	o.Adapt = func(config map[string]string, _ map[string]map[string]string) {
		config["user.v"] = "copied " + strings.TrimPrefix(config["user.v"], "copied ")
	}
	return p.CopyInstance(context.Background(), in, o)
}

// TestMain: with TREE_TEST_OP this binary, built with the tag crashpoints, is the child that runs the operation.
func TestMain(m *testing.M) {
	op, ok := crashOps[os.Getenv("TREE_TEST_OP")]
	if !ok {
		os.Exit(m.Run())
	}
	tree, err := Open(os.Getenv("TREE_TEST_MNT"))
	if err == nil {
		err = op.run(tree)
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// buildChild builds this package's tests with crash points.
func buildChild(t *testing.T) string {
	t.Helper()
	if child := os.Getenv("POOLCTL_TEST_TREE_CHILD"); child != "" {
		return child // built elsewhere: there is no Go in the machine of scripts/test-vm
	}
	child := filepath.Join(t.TempDir(), "child")
	command(t, "go", "test", "-c", "-vet=off", "-tags", "crashpoints", "-o", child, ".")
	return child
}

// runChild runs op in a child that is killed at its n-th crash point (0: at none), and says whether it was killed.
func runChild(t *testing.T, child string, p *testPool, op string, n int) bool {
	t.Helper()
	cmd := exec.Command(child)
	cmd.Env = append(os.Environ(), "TREE_TEST_OP="+op, "TREE_TEST_MNT="+p.mnt)
	if n > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("POOLCTL_CRASH=*:%d", n))
	}
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return true
		}
	}
	t.Fatalf("%s: %v\n%s", op, err, out)
	return false
}

// TestCrash kills every operation at every one of its crash points. What the next process finds after its Recover, which
// is killed at each of its own points on the way, is the state before or the state after, with nothing left over; and the
// operation can then be done.
func TestCrash(t *testing.T) { testCrash(t, false) }

// TestPowerCut is TestCrash with the power cut: what the next process finds is what was written to the disk by then. The
// copy of the pool's file at that moment is mounted in its place.
func TestPowerCut(t *testing.T) { testCrash(t, true) }

func testCrash(t *testing.T, powerCut bool) {
	child := buildChild(t)
	for name, op := range crashOps {
		if name == "recover" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			before, after := "", ""
			killed := 0
			for n := 0; ; n++ {
				more := true
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					p := newPool(t)
					must(t, op.before(p.Tree), unix.Syncfs(int(p.root.Fd())))
					if n == 0 {
						before = dump(t, p.Tree)
					}
					more = runChild(t, child, p, name, n) || n == 0
					if !more || n == 0 {
						after = dump(t, p.Tree)
						return
					}
					killed++
					if powerCut {
						p.cutPower(t)
					}
					checkCrashed(t, child, p, name, before, after)
				})
				if !more || t.Failed() {
					break
				}
			}
			t.Logf("killed at %d points", killed)
			if killed < op.points {
				t.Errorf("killed at %d points only, want %d", killed, op.points)
			}
		})
	}
}

// cutPower mounts what is on the disk now.
func (p *testPool) cutPower(t *testing.T) {
	t.Helper()
	file := p.file + ".cut"
	command(t, "cp", "--sparse=always", p.file, file)
	p.swap(t, file)
}

func checkCrashed(t *testing.T, child string, p *testPool, name, before, after string) {
	t.Helper()
	for n := 1; runChild(t, child, p, "recover", n); n++ {
		if n > 100 {
			t.Fatal("Recover does not come to an end")
		}
	}
	switch got := dump(t, p.Tree); got {
	case before:
		must(t, crashOps[name].run(p.Tree))
		if got := dump(t, p.Tree); got != after {
			t.Errorf("the operation done after the recovery gives\n%s\n\nwithout a crash\n%s", got, after)
		}
	case after:
	default:
		t.Errorf("after the recovery:\n%s\n\nbefore the operation:\n%s\n\nafter it:\n%s", got, before, after)
	}
	must(t, p.Recover(t.Context()))
	checkQgroups(t, p.Tree)
	if left, err := os.ReadDir(p.staging()); len(left) != 0 || err != nil {
		t.Errorf("left in staging: %v, %v", left, err)
	}
	if strings.Contains(dump(t, p.Tree), "staging/") {
		t.Error("something is left in staging")
	}
	for _, in := range []string{"containers/*", "containers-snapshots/*/*"} {
		if left, err := filepath.Glob(filepath.Join(p.mnt, in, ".*.new")); len(left) != 0 || err != nil {
			t.Errorf("left beside a record: %v, %v", left, err)
		}
	}
}
