package tree

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"time"
)

// TestRenameSnapshot: what is known of a snapshot goes with its name; a snapshot is replaced by one of now.
func TestRenameSnapshot(t *testing.T) {
	p := newPool(t)
	must(t, importImage(p.Tree, fingerprint), p.CreateInstance(t.Context(), newInstance("c1"), fingerprint))
	expiry := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	must(t, setMark(p.Tree, "c1", "old"), p.CreateSnapshot(t.Context(), "c1", "a", SnapshotOptions{ExpiresAt: expiry, Scheduled: true}))
	must(t, p.CreateSnapshot(t.Context(), "c1", "b", SnapshotOptions{}))
	if err := p.RenameSnapshot(t.Context(), "c1", "a", "b"); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if err := p.RenameSnapshot(t.Context(), "c1", "none", "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := p.RenameSnapshot(t.Context(), "c1", "a", "../x"); !errors.Is(err, ErrInvalidName) {
		t.Error(err)
	}
	must(t, p.RenameSnapshot(t.Context(), "c1", "a", "z"))
	snaps, err := p.Snapshots("c1")
	must(t, err)
	if len(snaps) != 2 || snaps[0].Name != "z" || !snaps[0].ExpiresAt.Equal(expiry) || snaps[0].Config[ScheduledKey] != "true" {
		t.Errorf("%+v", snaps)
	}
	if in, err := p.InstanceAt("c1", "z"); err != nil || in.Config[ScheduledKey] != "" {
		t.Errorf("restored it would be marked: %+v, %v", in.Config, err)
	}
	must(t, setMark(p.Tree, "c1", "new"), p.ReplaceSnapshot(t.Context(), "c1", "z", SnapshotOptions{}))
	if got := readMark(t, p.snapshotPath("c1", "z")); got != "new" {
		t.Errorf("the replaced snapshot has %q", got)
	}
	snaps, err = p.Snapshots("c1")
	must(t, err)
	i := slices.IndexFunc(snaps, func(s Snapshot) bool { return s.Name == "z" })
	if len(snaps) != 2 || i < 0 || !snaps[i].ExpiresAt.IsZero() || snaps[i].Config[ScheduledKey] != "" {
		t.Errorf("%+v", snaps)
	}
	must(t, p.DeleteInstance(t.Context(), "c1"), p.DeleteImage(t.Context(), fingerprint))
	checkEmpty(t, p)
}
