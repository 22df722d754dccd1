package pool

import (
	"os"
	"path/filepath"
	"time"

	"poolctl/btrfs"
	"poolctl/runtime"
)

// sizeWatch looks whether the limits of a running instance and of its volumes have
// to be counted anew.
//
// With simple quotas that is when they are nearly used up: what the instance has
// deleted and a snapshot still holds counts as written, and what it has deleted of
// its image would leave room. Nothing cheap says how much that is, so it is counted
// when something has changed, less and less often as long as nothing comes of it.
// It is also when much less is written than before: if a snapshot had that, the
// limit is too high now.
//
// With full qgroups it is when subvolumes have come up in the instance, which are
// not in its qgroup yet, or the kernel gave up counting.
type sizeWatch struct {
	system   *System
	instance string
	root     *limitWatch
	volumes  []*limitWatch
	disks    os.FileInfo // of which volumes is
}

func watchSizes(about string) func() bool {
	s, of, err := upkeepSystem(about)
	if err != nil {
		return nil
	}
	w := &sizeWatch{system: s, instance: of.Instance, root: newLimitWatch(filepath.Join(s.dir.MountPoint(of.Pool), "containers", of.Instance))}
	return w.look
}

func (w *sizeWatch) look() bool {
	now := time.Now()
	w.followDisks()
	due := w.root.due(now)
	for _, v := range w.volumes {
		due = v.due(now) || due
	}
	return due
}

// followDisks watches the volumes that the instance has now.
func (w *sizeWatch) followDisks() {
	info, err := os.Stat(runtime.DisksFile(w.system.instanceRunDir(w.instance)))
	if err != nil || w.disks != nil && os.SameFile(info, w.disks) && info.ModTime().Equal(w.disks.ModTime()) {
		return
	}
	w.disks, w.volumes = info, nil
	for _, d := range w.system.mountedDisks(w.instance) {
		if d.Volume != "" && !d.ReadOnly {
			w.volumes = append(w.volumes, newLimitWatch(d.Source))
		}
	}
}

const (
	// recountFirst and recountLast are the pauses before what has changed is counted
	// again: they double while nothing comes of it.
	recountFirst = 2 * time.Second
	recountLast  = time.Minute
	// recountFull is the longest pause for what is used up but for some MiB.
	recountFull = 8 * time.Second
	nearlyFull  = 4 << 20
)

// limitWatch looks at one limit.
type limitWatch struct {
	live *btrfs.LiveQuota
	// acted is when it was counted last, and pause how long it is not counted again.
	acted time.Time
	pause time.Duration
	// Then the limit was that, and the newest change this one.
	limit   uint64
	changed btrfs.QuotaStamp
	// high is the most that was written since it was counted.
	high uint64
	// How many subvolumes there were, and at which commit, when all that are nested
	// were found in the qgroup.
	subvolumes, generation uint64
}

// newLimitWatch is for the subvolume at path. One that cannot be looked at is never
// due.
func newLimitWatch(path string) *limitWatch {
	live, err := btrfs.NewLiveQuota(path)
	if err != nil {
		return &limitWatch{}
	}
	return &limitWatch{live: live}
}

// due says whether the limit is to be counted anew, which the caller does then.
func (w *limitWatch) due(now time.Time) bool {
	if w.live == nil {
		return false
	}
	q, err := w.live.Look()
	if err != nil || q.Mode == btrfs.QuotaNone {
		w.acted, w.high = time.Time{}, 0
		return false
	}
	due := false
	switch q.Mode {
	case btrfs.QuotaSimple:
		due = w.dueSimple(now, q)
	case btrfs.QuotaFull:
		due = w.dueFull(now, q)
	case btrfs.QuotaNone:
	}
	if due {
		w.counted(now, q)
	}
	return due
}

// counted notes what there was when it was counted.
func (w *limitWatch) counted(now time.Time, q btrfs.QuotaNow) {
	w.acted, w.limit, w.changed, w.high = now, q.Limit, q.Changed, q.Referenced
}

func (w *limitWatch) dueSimple(now time.Time, q btrfs.QuotaNow) bool {
	w.high = max(w.high, q.Referenced)
	left := q.Limit - min(q.Limit, q.Referenced)
	fell := w.high-q.Referenced > q.Limit/8
	if left > q.Limit/4 && !fell || q.Changed == w.changed {
		return false
	}
	if q.Limit != w.limit || fell { // something came of it, or somebody else has set it
		w.limit, w.pause = q.Limit, recountFirst
	}
	longest := recountLast
	if left <= nearlyFull {
		longest = recountFull
	}
	return w.paused(now, longest)
}

func (w *limitWatch) dueFull(now time.Time, q btrfs.QuotaNow) bool {
	if !q.Inconsistent && q.Subvolumes == w.subvolumes && q.Changed.Generation == w.generation {
		return false
	}
	wrong := q.Inconsistent
	if !wrong {
		some, all, err := w.live.Nested()
		wrong = err == nil && (!all || q.Group && !some)
	}
	if !wrong {
		w.subvolumes, w.generation, w.pause = q.Subvolumes, q.Changed.Generation, recountFirst
		return false
	}
	return w.paused(now, recountLast)
}

// paused says whether the pause is over, and makes the next one longer.
func (w *limitWatch) paused(now time.Time, longest time.Duration) bool {
	w.pause = min(max(w.pause, recountFirst), longest)
	if now.Sub(w.acted) < w.pause {
		return false
	}
	w.pause *= 2
	return true
}
