package pool

import (
	"encoding/json"
	"fmt"
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
// It is when subvolumes have come up that are not in the qgroup where they belong:
// with full qgroups because the kernel does not put them there, with simple ones
// because the instance asked it not to (tree.assemble). And with full ones it is when
// the kernel gave up counting.
type sizeWatch struct {
	system   *System
	instance string
	// Limits are those of the instance and its volumes, by path.
	Limits map[string]*limitWatch
}

// watchSizes is runtime.Hooks.Look: what it returns to be saved is a sizeWatch.
func watchSizes(about string, saved json.RawMessage, highest []uint64) (runtime.Look, error) {
	s, of, err := upkeepSystem(about)
	if err != nil {
		return runtime.Look{}, err
	}
	w := &sizeWatch{}
	if saved != nil {
		if err := json.Unmarshal(saved, w); err != nil {
			return runtime.Look{}, fmt.Errorf("cannot read what was seen of the sizes before: %w", err)
		}
	}
	w.system, w.instance = s, of.Instance
	w.seen(highest)
	var out runtime.Look
	out.Due, out.Conditions = w.look(filepath.Join(s.dir.MountPoint(of.Pool), "containers", of.Instance))
	out.Saved, err = json.Marshal(w)
	return out, err
}

// seen takes what was the highest that was written, of the conditions of the look
// before.
func (w *sizeWatch) seen(highest []uint64) {
	for _, l := range w.Limits {
		if l.Range > 0 && l.Range < len(highest) {
			l.High = max(l.High, highest[l.Range])
		}
	}
}

// look says what is due now, and under which conditions it is to be called again.
func (w *sizeWatch) look(root string) (due bool, conditions []runtime.Condition) {
	now := time.Now()
	file := runtime.DisksFile(w.system.instanceRunDir(w.instance))
	info, err := os.Stat(file)
	if err != nil {
		info = nil
	}
	conditions = append(conditions, runtime.FileChanges(file, info))
	paths := []string{root}
	for _, d := range w.system.mountedDisks(w.instance) {
		if d.Volume != "" && !d.ReadOnly {
			paths = append(paths, d.Source)
		}
	}
	limits := map[string]*limitWatch{}
	for _, path := range paths {
		live, err := btrfs.NewLiveQuota(path)
		if err != nil {
			continue // one that cannot be looked at is never due
		}
		l := w.Limits[path]
		if l == nil {
			l = &limitWatch{}
		}
		l.live = live
		limits[path] = l
		due = l.due(now) || due
		conditions = l.conditions(now, conditions)
	}
	w.Limits = limits
	return due, conditions
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
	now  btrfs.QuotaNow
	// Acted is when it was counted last, and Pause how long it is not counted again.
	Acted time.Time
	Pause time.Duration
	// Then the limit was that, and the newest change this one.
	Limit   uint64
	Changed btrfs.QuotaStamp
	// High is the most that was written since it was counted.
	High uint64
	// Range is which one of the conditions has the highest since the last look; 0
	// when none has.
	Range int
	// How many subvolumes there were, and at which commit, when all that are nested
	// were found in the qgroup.
	Subvolumes, Generation uint64
}

// due says whether the limit is to be counted anew, which the caller does then.
func (w *limitWatch) due(now time.Time) bool {
	q, err := w.live.Look()
	w.now = q
	if err != nil || q.Mode == btrfs.QuotaNone {
		w.Acted, w.High = time.Time{}, 0
		return false
	}
	due := false
	switch q.Mode {
	case btrfs.QuotaSimple:
		due = w.dueSimple(now, q) || w.misplaced(q) && w.paused(now, recountLast)
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
	w.Acted, w.Limit, w.Changed, w.High = now, q.Limit, q.Changed, q.Referenced
}

func (w *limitWatch) dueSimple(now time.Time, q btrfs.QuotaNow) bool {
	w.High = max(w.High, q.Referenced)
	left := q.Limit - min(q.Limit, q.Referenced)
	fell := w.High-q.Referenced > q.Limit/8
	if left > q.Limit/4 && !fell || q.Changed == w.Changed {
		return false
	}
	if q.Limit != w.Limit || fell { // something came of it, or somebody else has set it
		w.Limit, w.Pause = q.Limit, recountFirst
	}
	longest := recountLast
	if left <= nearlyFull {
		longest = recountFull
	}
	return w.paused(now, longest)
}

func (w *limitWatch) dueFull(now time.Time, q btrfs.QuotaNow) bool {
	if q.Inconsistent || w.misplaced(q) {
		return w.paused(now, recountLast)
	}
	w.Pause = recountFirst
	return false
}

// misplaced says whether nested subvolumes are not in the qgroup where they belong,
// or others are. It looks only where something has changed.
func (w *limitWatch) misplaced(q btrfs.QuotaNow) bool {
	if q.Subvolumes == w.Subvolumes && q.Changed.Generation == w.Generation {
		return false
	}
	some, all, err := w.live.Nested()
	if err == nil && (!all || q.Mode == btrfs.QuotaFull && q.Group && !some) {
		return true
	}
	w.Subvolumes, w.Generation = q.Subvolumes, q.Changed.Generation
	return false
}

// paused says whether the pause is over, and makes the next one longer.
func (w *limitWatch) paused(now time.Time, longest time.Duration) bool {
	w.Pause = min(max(w.Pause, recountFirst), longest)
	if now.Sub(w.Acted) < w.Pause {
		return false
	}
	w.Pause *= 2
	return true
}

// pauseLeft is how much of the pause is left.
func (w *limitWatch) pauseLeft(now time.Time) time.Duration { return w.Acted.Add(w.Pause).Sub(now) }

// conditions adds those under which it has to be looked at again. They may be met
// without anything being due.
func (w *limitWatch) conditions(now time.Time, list []runtime.Condition) []runtime.Condition {
	f, q := w.live.Files(), w.now
	w.Range = 0
	for _, path := range append(f.LimitFlags[:], f.Limit[:]...) {
		n, err := btrfs.ReadNumber(path)
		if err != nil {
			n = runtime.NumberAbsent
		}
		list = append(list, runtime.NumberChanges(path, n))
	}
	left := w.pauseLeft(now)
	switch q.Mode {
	case btrfs.QuotaSimple:
		group := 0
		if q.Group {
			group = 1
		}
		most := q.Limit - q.Limit/4
		if q.Referenced >= most { // nearly used up
			list = append(list, runtime.SubvolumeChanges(f.Volume, w.Changed.Sec, w.Changed.Nsec).After(left),
				runtime.NumberChanges(f.Generation, w.Changed.Generation).After(left))
			most = runtime.NumberAbsent
		}
		fell := w.High - min(w.High, q.Referenced)
		if fell > q.Limit/8 && q.Changed != w.Changed { // due, after the pause
			list = append(list, runtime.Always(max(left, recountFirst)))
		}
		list = w.nestedConditions(left, list)
		w.Range = len(list)
		list = append(list, runtime.LeavesRange(f.Referenced[group], most-1, q.Limit/8-min(q.Limit/8, fell)).After(left))
	case btrfs.QuotaFull:
		if q.Inconsistent {
			return append(list, runtime.Always(max(left, recountFirst)))
		}
		list = append(w.nestedConditions(left, list), runtime.NumberChanges(f.Inconsistent, 0))
	case btrfs.QuotaNone:
	}
	return list
}

// nestedConditions are those under which nested subvolumes may have come up in the
// instance, or in its qgroup.
func (w *limitWatch) nestedConditions(left time.Duration, list []runtime.Condition) []runtime.Condition {
	f, q := w.live.Files(), w.now
	if q.Subvolumes != w.Subvolumes || q.Changed.Generation != w.Generation { // due, after the pause
		return append(list, runtime.Always(max(left, recountFirst)))
	}
	return append(list, runtime.LinksChange(f.Qgroups, q.Subvolumes), runtime.NumberChanges(f.Generation, q.Changed.Generation).After(nestedPause))
}

// nestedPause is how often it is looked at most for nested
// subvolumes of which the number of all says nothing.
const nestedPause = time.Minute
