package pool

import (
	"errors"
	"slices"
	"testing"
	"time"

	"poolctl/pool/tree"
)

func TestLastDue(t *testing.T) {
	at := func(text string) time.Time {
		t.Helper()
		out, err := time.Parse("2006-01-02 15:04:05", text)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	now := at("2026-11-28 15:07:30") // a Saturday
	for _, c := range []struct{ schedule, after, want string }{
		{"@hourly", "2026-11-28 14:59:59", "2026-11-28 15:00:00"},
		{"@hourly", "2026-11-28 15:00:00", ""},
		{"@hourly", "2026-11-28 15:06:30", ""},
		{"@daily", "2026-11-20 00:00:00", "2026-11-28 00:00:00"},
		{"@midnight", "2026-11-28 00:00:01", ""},
		{"@weekly", "2026-11-01 00:00:00", "2026-11-22 00:00:00"},
		{"@monthly", "2026-01-01 00:00:00", "2026-11-01 00:00:00"},
		{"@yearly", "2025-12-31 00:00:00", "2026-01-01 00:00:00"},
		{"@annually", "1990-01-01 00:00:00", "2026-01-01 00:00:00"},
		{"@never", "1990-01-01 00:00:00", ""},
		{"@daily, @hourly", "2026-11-28 14:59:59", "2026-11-28 15:00:00"},
		{"7 15 * * *", "2026-11-28 15:06:30", "2026-11-28 15:07:00"},
		{"*/5 * * * *", "2026-11-28 15:04:00", "2026-11-28 15:05:00"},
		{"2/5 * * * *", "2026-11-28 15:06:30", "2026-11-28 15:07:00"},
		{"1-30/2 9-15 * * mon-fri", "2026-11-20 00:00:00", "2026-11-27 15:29:00"},
		{"0 0 13 * fri", "2026-11-14 00:00:00", "2026-11-27 00:00:00"}, // either day
		{"0 0 13 * *", "2026-11-14 00:00:00", ""},
		{"0 12 1 jan,nov ?", "2026-01-02 00:00:00", "2026-11-01 12:00:00"},
		{"0 0 30 2 *", "1990-01-01 00:00:00", ""},
	} {
		if err := checkSchedule(c.schedule); err != nil {
			t.Errorf("%s: %v", c.schedule, err)
		}
		got := lastDue(c.schedule, at(c.after), now)
		if want := c.want; want == "" && !got.IsZero() || want != "" && !got.Equal(at(want)) {
			t.Errorf("%s since %s: %v, want %q", c.schedule, c.after, got, want)
		}
	}
}

// TestRetentionKeep: "keep:" may be before a retention, and is not stored.
func TestRetentionKeep(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", map[string]string{"volume.snapshots.retention": "keep: 2 daily"})
	const given, want = "keep: 24 hourly, 7 daily, 4 weekly", "24 hourly, 7 daily, 4 weekly"
	config := map[string]string{snapshotRetentionKey: given}
	_, err := s.Create(t.Context(), CreateOptions{Name: "c1", Template: EmptyTemplate, Pool: "p", Config: config})
	ok(t, err)
	_, err = s.Create(t.Context(), CreateOptions{Name: "c2", Template: EmptyTemplate, Pool: "p"})
	ok(t, err, s.SetInstanceConfig(t.Context(), "c2", config), s.CreateProfile(t.Context(), "q", ProfilePut{Config: config}))
	for _, name := range []string{"c1", "c2"} {
		if got, err := s.InstanceValue(t.Context(), name, snapshotRetentionKey, false); err != nil || got != want {
			t.Errorf("%s has %q, %v", name, got, err)
		}
	}
	if p, err := s.profile("q"); err != nil || p.Config[snapshotRetentionKey] != want {
		t.Errorf("the profile has %+v, %v", p, err)
	}
	createVolume(t, s, "p", "v", nil)
	if v, err := s.Volume(t.Context(), "p", "v"); err != nil || v.Config[snapshotRetentionKey] != "2 daily" {
		t.Errorf("the volume has %+v, %v", v.Config, err)
	}
	if _, err := parseRetention("keep:"); err == nil {
		t.Error("nothing is taken for a retention")
	}
}

func TestRetention(t *testing.T) {
	for _, bad := range []string{"", "24", "hourly", "0 daily", "-1 daily", "1 daily, 2 daily", "1 day", "1 daily,", "99999999 daily"} {
		if err := checkRetention(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	tiers, err := parseRetention("3 hourly,2 daily, 2 weekly")
	if err != nil {
		t.Fatal(err)
	}
	var snaps []madeAt
	start := time.Date(2026, 11, 1, 0, 30, 0, 0, time.UTC)
	for i := range 28 * 24 * 2 { // every half hour of four weeks
		at := start.Add(time.Duration(i) * 30 * time.Minute)
		snaps = append(snaps, madeAt{at.Format("02T15:04"), at})
	}
	gone := beyond(tiers, snaps, time.UTC)
	var kept []string
	for _, sn := range snaps {
		if !slices.Contains(gone, sn.name) {
			kept = append(kept, sn.name)
		}
	}
	// The last one is 29T00:00, a Sunday: of the hours 00, 23 and 22, the days 29 and 28, the weeks 48 and 47.
	want := []string{"22T23:30", "28T22:30", "28T23:30", "29T00:00"}
	if !slices.Equal(kept, want) {
		t.Errorf("kept %q, want %q", kept, want)
	}
	if gone := beyond(tiers, nil, time.UTC); len(gone) != 0 {
		t.Errorf("%q", gone)
	}
	// What is kept stays kept, as time goes on only the oldest go.
	if again := beyond(tiers, slices.DeleteFunc(snaps, func(s madeAt) bool { return slices.Contains(gone, s.name) }), time.UTC); len(again) != 0 {
		t.Errorf("a second look deletes %q", again)
	}
}

// TestRetainWrongClock: a snapshot of later than now takes nobody's place, and stays; one that cannot be deleted does not keep the others.
func TestRetainWrongClock(t *testing.T) {
	now := time.Date(2026, 11, 28, 15, 7, 0, 0, time.UTC)
	busy := errors.New("busy")
	snaps := []madeAt{{"future", now.AddDate(10, 0, 0)}, {"now", now}, {"mounted", now.Add(-time.Minute)}, {"deleted", now.Add(-2 * time.Minute)}, {"old", now.Add(-3 * time.Minute)}}
	gone, err := retain([]tier{{1, "yearly"}}, snaps, now, "c1", func(snap string) error {
		return map[string]error{"mounted": busy, "deleted": ErrNotFound}[snap]
	})
	if !slices.Equal(gone, []string{"c1/old"}) || !errors.Is(err, busy) || errors.Is(err, ErrNotFound) {
		t.Errorf("gone: %q, %v", gone, err)
	}
}

// TestDueWrongClock: a snapshot of later than now does not stand for the one that is due.
func TestDueWrongClock(t *testing.T) {
	s := newSystem(t)
	now := time.Date(2026, 11, 28, 15, 0, 30, 0, time.Local)
	in := tree.Instance{Name: "c1"}
	in.ExpandedConfig = map[string]string{snapshotScheduleKey: "@hourly", snapshotStoppedKey: "true"}
	for made, want := range map[time.Time]bool{now.AddDate(1, 0, 0): true, now.Add(-time.Hour): true, now.Add(-10 * time.Second): false, now: false} {
		in.Snapshots = []tree.Snapshot{{Name: "s", CreatedAt: made}}
		if got := s.instanceDue(in, now.Add(-time.Minute), now); got != want {
			t.Errorf("with a snapshot of %v: %v", made, got)
		}
	}
}

func FuzzRetention(f *testing.F) {
	f.Add("24 hourly, 7 daily, 4 weekly")
	f.Add("1 x")
	f.Fuzz(func(t *testing.T, text string) {
		tiers, err := parseRetention(text)
		if (err == nil) != (len(tiers) > 0) {
			t.Errorf("%q: %v, %v", text, tiers, err)
		}
	})
}

func FuzzSchedule(f *testing.F) {
	f.Add("*/5 1-3 * jan ?", int64(1_700_000_000))
	f.Fuzz(func(t *testing.T, schedule string, at int64) {
		if checkSchedule(schedule) == nil {
			until := time.Unix(at%(1<<33), 0)
			if due := lastDue(schedule, until.Add(-3*time.Hour), until); !due.IsZero() && (due.After(until) || due.Before(until.Add(-3*time.Hour))) {
				t.Errorf("%q: %v is not within %v", schedule, due, until)
			}
		}
	})
}
