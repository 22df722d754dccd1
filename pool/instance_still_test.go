package pool

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"poolctl/btrfs"
	"poolctl/pool/journal"
	"poolctl/runtime"
)

// longestPause is for how long an instance was frozen at a time while do ran.
func longestPause(live *runtime.Instance, do func()) time.Duration {
	stop, longest := make(chan struct{}), make(chan time.Duration)
	go func() {
		var most time.Duration
		var since time.Time
		for {
			select {
			case <-stop:
				longest <- most
				return
			default:
			}
			switch paused, err := live.Paused(); {
			case err != nil || !paused:
				since = time.Time{}
			case since.IsZero():
				since = time.Now()
			default:
				most = max(most, time.Since(since))
			}
			time.Sleep(50 * time.Microsecond)
		}
	}()
	do()
	close(stop)
	return <-longest
}

// TestStill: an instance that runs is frozen for a snapshot, a copy or a backup, and only for a moment, also when it has many
// subvolumes in it; one that a killed command held goes on.
func TestStill(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	createPool(t, s, "p2", nil)
	busyboxInstance(t, s, "p1", "c1")
	root := diskRoot(t, s, "c1")
	for i := range 20 {
		ok(t, btrfs.CreateSubvolume(fmt.Sprintf("%s/nested %d", root, i)))
	}
	ok(t, s.Start(ctx, "c1"))
	t.Cleanup(func() { ok(t, s.Stop(context.Background(), "c1", StopOptions{Force: true})) })
	live, err := s.runningInstance("c1")
	ok(t, err)
	defer live.Close()

	for what, do := range map[string]func() error{
		"snapshot": func() error { _, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1"}); return err },
		"copy":     func() error { _, err := s.Copy(ctx, CopyOptions{Source: "c1", InstanceOnly: true}); return err },
		"copy to p2": func() error {
			_, err := s.Copy(ctx, CopyOptions{Source: "c1", Pool: "p2", InstanceOnly: true})
			return err
		},
		"send":   func() error { return s.Send(ctx, SendOptions{Instance: "c1", InstanceOnly: true}, io.Discard) },
		"export": func() error { return s.Export(ctx, ExportOptions{BackupOptions{NoSnapshots: true}, "c1"}, io.Discard) },
		"export of streams": func() error {
			return s.Export(ctx, ExportOptions{BackupOptions{NoSnapshots: true, Optimized: true}, "c1"}, io.Discard)
		},
	} {
		var pauses []time.Duration
		for range 3 { // what else the machine does makes some longer
			most := longestPause(live, func() { ok(t, do()) })
			if pauses = append(pauses, most); most > 0 && most < 50*time.Millisecond {
				break
			}
		}
		t.Logf("%s: %v", what, pauses)
		if most := pauses[len(pauses)-1]; most == 0 || most >= 50*time.Millisecond {
			t.Errorf("%s: paused for %v", what, pauses)
		}
		if paused, err := live.Paused(); err != nil || paused {
			t.Errorf("%s: it is left paused: %v, %v", what, paused, err)
		}
	}

	e, err := journal.BeginUnsynced(ctx, s.journalDir(), opStill, stillArgs{"c1"})
	ok(t, err)
	ok(t, live.Pause(ctx), e.Close()) // as a kill does
	again, err := Open(ctx, Options{Root: s.dir.Root, Notice: func(text string) { t.Log(text) }})
	ok(t, err, again.Close())
	if paused, err := live.Paused(); err != nil || paused {
		t.Errorf("the next command leaves it paused: %v, %v", paused, err)
	}
}
