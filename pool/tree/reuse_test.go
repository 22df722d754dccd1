package tree

import (
	"crypto/rand"
	"os"
	"slices"
	"testing"
)

// TestReuseRenamed: a snapshot that has another name on either side is the same one, and is not sent again.
func TestReuseRenamed(t *testing.T) {
	for side, rename := range map[string]func(p, there *Tree) error{
		"source": func(p, _ *Tree) error { return p.RenameSnapshot(t.Context(), "c1", "s1", "z") },
		"copy":   func(_, there *Tree) error { return there.RenameSnapshot(t.Context(), "c2", "s1", "z") },
	} {
		p, there := newPool(t), newPool(t)
		big := make([]byte, 4<<20)
		_, _ = rand.Read(big)
		must(t, makeInstance(p.Tree), nest(p.InstancePath("c1")), os.WriteFile(p.InstancePath("c1")+"/rootfs/big", big, 0o600), snapshot(p.Tree, "s1"))
		_, err := receiveInstance(p.Tree, func() (*InstanceStage, error) { return there.StageInstance(t.Context(), "c2") })
		must(t, err, rename(p.Tree, there.Tree), setMark(p.Tree, "c1", "second"), snapshot(p.Tree, "s2"))
		out, err := receiveInstance(p.Tree, func() (*InstanceStage, error) {
			return there.StageInstanceReplacement(t.Context(), "c2", false)
		})
		must(t, err)
		if out.bytes > 1<<20 {
			t.Errorf("renamed in the %s: sent %d bytes, of %q", side, out.bytes, out.members)
		}
		in, err := p.Instance("c1")
		must(t, err)
		copied, err := there.Instance("c2")
		must(t, err)
		if got, want := snapshotsOf(copied), snapshotsOf(in); !slices.Equal(got, want) {
			t.Errorf("renamed in the %s: snapshots %q, want %q", side, got, want)
		}
		for _, snap := range snapshotsOf(in) {
			if got, want := readMark(t, there.snapshotPath("c2", snap)), readMark(t, p.snapshotPath("c1", snap)); got != want {
				t.Errorf("renamed in the %s: %s: mark %s, want %s", side, snap, got, want)
			}
		}
	}
}
