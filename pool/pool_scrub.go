package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// ScrubOptions are the arguments of ScrubPool.
type ScrubOptions struct {
	ReadOnly bool // repair nothing
	Reset    bool // set the device's error counters to zero before
	Progress func(Progress)
}

// Scrub is a pool's last scrub, or the one that runs.
type Scrub struct {
	Pool string `json:"pool" yaml:"pool"`
	UUID string `json:"uuid" yaml:"uuid"`
	// Status is never, running, finished, cancelled, or interrupted when its
	// command was killed.
	Status    string              `json:"status" yaml:"status"`
	StartedAt time.Time           `json:"started_at,omitzero" yaml:"started_at,omitempty"`
	EndedAt   time.Time           `json:"ended_at,omitzero" yaml:"ended_at,omitempty"`
	ReadOnly  bool                `json:"read_only" yaml:"read_only"`
	Result    btrfs.ScrubProgress `json:"result" yaml:"result"`
	// Damaged are the files that cannot be read whole, by what they belong to.
	Damaged []DamagedFile `json:"damaged" yaml:"damaged"`
}

// DamagedFile is a file in a pool of which some content is lost.
type DamagedFile struct {
	// Object is what it belongs to: "instance c1", "snapshot c1/s0", "image
	// 0123456789ab", "volume v"; else a path in the pool.
	Object string `json:"object" yaml:"object"`
	Path   string `json:"path" yaml:"path"` // below the object's root directory; "" for damaged metadata
	Offset uint64 `json:"offset" yaml:"offset"`
	Length uint64 `json:"length" yaml:"length"`
}

// ErrDamaged says that a scrub or a check found damage.
var ErrDamaged = errors.New("damaged")

// ScrubPool reads everything in a pool and verifies its checksums; what has a
// second copy, as metadata have, is repaired. Where something is lost, the files
// that have it are found and named. They are in the result, and the error is
// ErrDamaged then. When ctx ends, the scrub is cancelled.
func (s *System) ScrubPool(ctx context.Context, name string, o ScrubOptions) (Scrub, error) {
	p, err := s.openPool(ctx, name)
	if err != nil {
		return Scrub{}, err
	}
	defer func() { _ = p.close() }()
	unlock, err := s.dir.LockScrub(ctx, name, false, false)
	if errors.Is(err, state.ErrLocked) {
		err = withHint(btrfs.ErrBusy, "poolctl pool scrub status %s", name)
	}
	if err != nil {
		return Scrub{}, fmt.Errorf("cannot scrub pool %s: %w", name, err)
	}
	defer unlock()
	mp := s.dir.MountPoint(name)
	dev, err := s.ownFSDevice(p.rec)
	if err == nil && o.Reset {
		_, err = btrfs.ResetDeviceStats(mp, dev.ID)
	}
	if _, gerr := btrfs.GetScrub(mp, dev.ID); err == nil && gerr == nil {
		err = withHint(btrfs.ErrBusy, "poolctl pool scrub status %s", name)
	}
	if err != nil {
		return Scrub{}, fmt.Errorf("cannot scrub pool %s: %w", name, err)
	}
	out := Scrub{Pool: name, UUID: p.rec.UUID, Status: "running", StartedAt: time.Now().UTC(), ReadOnly: o.ReadOnly, Damaged: []DamagedFile{}}
	if err := s.saveScrub(out); err != nil {
		return out, err
	}
	err = s.cancellableScrub(ctx, name, func(ctx context.Context) error { return s.scrub(ctx, mp, dev.ID, o, &out) })
	out.EndedAt = time.Now().UTC()
	if err := errors.Join(err, s.saveScrub(out)); err != nil {
		return out, fmt.Errorf("cannot scrub pool %s: %w", name, err)
	}
	return out, scrubVerdict(out)
}

// scrub runs the kernel's scrub and, where it found what it could not repair,
// looks for the files.
func (s *System) scrub(ctx context.Context, mp string, device uint64, o ScrubOptions, out *Scrub) (err error) {
	total := int64(0)
	if u, err := btrfs.GetUsage(mp); err == nil {
		total = int64(u.Used)
	}
	tell := func(name string, done uint64) {
		if o.Progress != nil {
			o.Progress(Progress{Name: name, Done: min(int64(done), total), Total: total})
		}
	}
	out.Result, err = btrfs.Scrub(ctx, mp, device, o.ReadOnly, func(p btrfs.ScrubProgress) { tell("scrub", p.DataBytes+p.TreeBytes) })
	out.Status = "finished"
	if err != nil {
		out.Status = "cancelled"
		return err
	}
	if out.Result.UncorrectableErrors == 0 && (!o.ReadOnly || out.Result.Errors() == 0) {
		return nil
	}
	found, err := btrfs.Damaged(ctx, mp, func(read uint64) { tell("damaged files", read) })
	for _, d := range found {
		object, prefix := objectOf(d.Subvolume)
		out.Damaged = append(out.Damaged, DamagedFile{Object: object, Path: strings.TrimPrefix(filepath.Join(prefix, d.Path), "/"), Offset: d.Offset, Length: d.Length})
	}
	if err != nil {
		out.Status = "cancelled"
	}
	return err
}

// scrubVerdict is ErrDamaged when something is lost, or would have to be repaired.
func scrubVerdict(out Scrub) error {
	lost := out.Result.UncorrectableErrors
	switch {
	case len(out.Damaged) > 0:
		return withHint(fmt.Errorf("pool %s is %w: %d files have lost something", out.Pool, ErrDamaged, len(out.Damaged)), "restore them from a snapshot or backup that is not on the list")
	case lost > 0:
		return withHint(fmt.Errorf("pool %s is %w: %d errors cannot be repaired, in no file", out.Pool, ErrDamaged, lost), "poolctl pool check %s looks at the metadata", out.Pool)
	case out.ReadOnly && out.Result.Errors() > 0:
		return withHint(fmt.Errorf("pool %s is %w: %d errors", out.Pool, ErrDamaged, out.Result.Errors()), "poolctl pool scrub start %s repairs what has a second copy", out.Pool)
	}
	return nil
}

// objectOf says what a subvolume of a pool is, and where in it a nested one lies.
func objectOf(path string) (object, prefix string) {
	parts := strings.Split(path, "/")
	name := func(kind string, n int) (string, string) {
		return kind + " " + strings.Join(parts[1:n], "/"), strings.Join(parts[n:], "/")
	}
	switch {
	case parts[0] == "containers" && len(parts) >= 2:
		return name("instance", 2)
	case parts[0] == "containers-snapshots" && len(parts) >= 3:
		return name("snapshot", 3)
	case parts[0] == "images" && len(parts) >= 2:
		return name("image", 2)
	case parts[0] == "custom" && len(parts) >= 2:
		return name("volume", 2)
	case parts[0] == "custom-snapshots" && len(parts) >= 3:
		return name("volume snapshot", 3)
	}
	return "/" + path, ""
}

// ScrubOf tells of a pool's last scrub, or of the one that runs in another
// command.
func (s *System) ScrubOf(ctx context.Context, name string) (Scrub, error) {
	p, err := s.openPool(ctx, name)
	if err != nil {
		return Scrub{}, err
	}
	defer func() { _ = p.close() }()
	out := Scrub{Pool: name, UUID: p.rec.UUID, Status: "never", Damaged: []DamagedFile{}}
	var saved Scrub
	err = state.LoadJSON(s.scrubFile(name), &saved)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, err
	}
	if err == nil && saved.UUID == p.rec.UUID {
		out = saved
		out.Pool = name
	}
	dev, err := s.ownFSDevice(p.rec)
	if err != nil {
		return out, err
	}
	now, err := btrfs.GetScrub(s.dir.MountPoint(name), dev.ID)
	switch {
	case err == nil:
		out.Status, out.Result = "running", now
	case !errors.Is(err, btrfs.ErrNoScrub):
		return out, err
	case out.Status == "running":
		held, err := s.scrubHeld(ctx, name)
		if err != nil || held { // not begun by the kernel yet, or about to end
			return out, err
		}
		out.Status = "interrupted"
	}
	return out, nil
}

// scrubFile is where the state directory keeps a pool's last scrub: not in the
// pool, which may be one that cannot be written.
func (s *System) scrubFile(name string) string {
	return filepath.Join(s.dir.Root, "scrubs", name+".json")
}

func (s *System) saveScrub(out Scrub) error {
	file := s.scrubFile(out.Pool)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return state.SaveJSON(file, out)
}
