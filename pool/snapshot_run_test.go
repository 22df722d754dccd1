package pool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poolctl/pool/state"
)

func snapshotList(t *testing.T, s *System, name string) []string {
	t.Helper()
	list, err := s.Snapshots(t.Context(), name)
	ok(t, err)
	var names []string
	for _, sn := range list {
		names = append(names, sn.Name)
	}
	return names
}

// TestRunSnapshots: what is due is made once, of instances and volumes; what retention does not keep is deleted, but only what
// a schedule made; so is what has expired.
func TestRunSnapshots(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	busyboxInstance(t, s, "p1", "c1")
	for key, bad := range map[string]string{
		"snapshots.schedule": "@sometimes", "snapshots.retention": "7 days", "snapshots.expiry": "soon", "snapshots.pattern": "a/b", "snapshots.schedule.stopped": "maybe",
	} {
		if err := s.SetInstanceConfig(ctx, "c1", map[string]string{key: bad}); err == nil {
			t.Errorf("%s=%s is taken", key, bad)
		}
	}
	ok(t, s.SetInstanceConfig(ctx, "c1", map[string]string{
		"snapshots.schedule": "* * * * *", "snapshots.retention": "1 yearly", "snapshots.pattern": "auto-{{ creation_date|date:'2006' }}-%d", "snapshots.expiry": "1y",
	}))
	run, err := s.RunSnapshots(ctx)
	if ok(t, err); len(run.Made) != 0 {
		t.Errorf("of a stopped instance: %+v", run)
	}
	ok(t, s.CreateVolume(ctx, CreateVolumeOptions{Pool: "p1", Name: "v1", Config: map[string]string{"snapshots.schedule": "* * * * *", "snapshots.retention": "1 daily"}}))
	ok(t, s.SetInstanceConfig(ctx, "c1", map[string]string{"snapshots.schedule.stopped": "true"}))
	ok(t, os.Remove(filepath.Join(s.dir.Root, "snapshots.json"))) // or this minute was looked at already
	if run, err = s.RunSnapshots(ctx); err != nil {
		t.Fatal(err)
	}
	minute := time.Now().Truncate(time.Minute)
	want := "auto-" + time.Now().UTC().Format("2006") + "-0"
	if got := strings.Join(run.Made, " "); got != "c1/"+want+" p1/v1/snap0" {
		t.Errorf("made %s", got)
	}
	if run, err = s.RunSnapshots(ctx); err != nil || len(run.Made)+len(run.Gone) != 0 && time.Now().Truncate(time.Minute).Equal(minute) {
		t.Errorf("again in the same minute: %+v, %v", run, err)
	}
	_, err = s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "mine"})
	ok(t, err)
	_, err = s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "newer", scheduled: true})
	ok(t, err)
	gone, err := s.retainInstance(ctx, "c1", "1 yearly")
	if err != nil || strings.Join(gone, " ") != "c1/"+want {
		t.Errorf("gone: %q, %v", gone, err)
	}
	if got := strings.Join(snapshotList(t, s, "c1"), " "); got != "mine newer" {
		t.Errorf("left: %s", got)
	}
	info, err := s.Snapshot(ctx, "c1", "mine")
	if err != nil || info.Usage.Referenced == 0 || info.Usage.Exclusive > info.Usage.Referenced || !info.ExpiresAt.After(time.Now().AddDate(0, 11, 0)) {
		t.Errorf("%+v, %v", info, err)
	}

	// A restore keeps what is replaced, when it is asked to.
	ok(t, s.SetInstanceConfig(ctx, "c1", map[string]string{"user.now": "1"}))
	ok(t, s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "newer", Keep: true}))
	if v, err := s.InstanceValue(ctx, "c1", "user.now", false); err != nil || v != "" {
		t.Errorf("user.now=%q, %v", v, err)
	}
	if put, err := s.InstanceConfig(ctx, "c1", false); err != nil || put.Config["user.poolctl.scheduled"] != "" {
		t.Errorf("%v, %v", put.Config, err)
	}
	if got := strings.Join(snapshotList(t, s, "c1"), " "); !strings.HasPrefix(got, "mine newer auto-") {
		t.Errorf("after a restore: %s", got)
	}
	ok(t, s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: want}))
	if v, err := s.InstanceValue(ctx, "c1", "user.now", false); err != nil || v != "1" {
		t.Errorf("user.now=%q, %v", v, err)
	}
	if err := s.RenameSnapshot(ctx, "c1", "mine", "newer"); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	if err := s.RenameSnapshot(ctx, "c1", "none", "x"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	ok(t, s.RenameSnapshot(ctx, "c1", "mine", "yours"))
	_, err = s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "yours", Reuse: true, NoExpiry: true})
	ok(t, err)
	if info, err := s.SnapshotConfig(ctx, "c1", "yours"); err != nil || info.ExpiresAt.Unix() > 0 || info.Config["user.now"] != "1" {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "yours"}); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
}

// TestRunSnapshotsTwice: of runs at the same time, as of a timer and by hand, only one makes what is due.
func TestRunSnapshotsTwice(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	names := []string{"c1", "c2", "c3"}
	for _, name := range names {
		config := map[string]string{"snapshots.schedule": "@daily", "snapshots.schedule.stopped": "true"}
		_, err := s.Create(ctx, CreateOptions{Name: name, Template: EmptyTemplate, Pool: "p1", Config: config})
		ok(t, err)
	}
	ok(t, state.SaveJSON(filepath.Join(s.dir.Root, "snapshots.json"), scheduleState{time.Now().Add(-48 * time.Hour)}))
	errs := make(chan error)
	for range 4 {
		go func() {
			_, err := s.RunSnapshots(ctx)
			errs <- err
		}()
	}
	for range 4 {
		ok(t, <-errs)
	}
	for _, name := range names {
		if got := snapshotList(t, s, name); len(got) != 1 {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestSnapshotAtStart: @startup, alone or among others, is of instances only, and has a snapshot made before each start.
func TestSnapshotAtStart(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	busyboxInstance(t, s, "p1", "c1")
	if err := s.CreateVolume(ctx, CreateVolumeOptions{Pool: "p1", Name: "v1", Config: map[string]string{"snapshots.schedule": "@startup"}}); err == nil {
		t.Error("a volume takes @startup")
	}
	if err := s.SetInstanceConfig(ctx, "c1", map[string]string{"snapshots.schedule": "@startup, soon"}); err == nil {
		t.Error("a bad schedule is taken")
	}
	for i, schedule := range []string{"@startup", "@never, @startup"} {
		ok(t, s.SetInstanceConfig(ctx, "c1", map[string]string{"snapshots.schedule": schedule}))
		ok(t, s.Start(ctx, "c1"), s.Stop(ctx, "c1", StopOptions{Force: true}))
		if got := snapshotList(t, s, "c1"); len(got) != i+1 {
			t.Errorf("after start %d with %s: %q", i+1, schedule, got)
		}
	}
	p, _, err := s.findInstance(ctx, "c1")
	ok(t, err)
	snaps, err := p.Snapshots("c1")
	ok(t, err, p.close())
	if snaps[0].Config["user.poolctl.scheduled"] != "true" {
		t.Errorf("retention does not know it: %+v", snaps[0])
	}
}
