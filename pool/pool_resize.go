package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/state"
)

// minResize is the smallest size that the kernel resizes a file system to.
const minResize = 256 << 20

// resizing is the journal's record of a pool that is being resized.
type resizing struct {
	Name string `json:"name"`
	UUID string `json:"uuid"`
	// From and To are the bytes that the file system uses of its file or device.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Source is how large the file was.
	Source int64 `json:"source"`
	// Size is what the configuration says afterwards.
	Size string `json:"size"`
}

func (r resizing) shrinks() bool { return r.To < r.From }

// ResizePool gives a pool another size while it is in use: "20GiB", "+5GiB",
// "-5GiB", "min" for the smallest that is safe, "max" for all of its block
// device. A pool that is detached is attached.
//
// The file of a pool that grows is sparse, unless its space is reserved. One that
// shrinks needs room to move what lies beyond its new end: a size with too little
// of it is refused, and the smallest possible one told. When ctx ends, or
// something fails, the pool has its old size again.
//
// Order: intent; growing, the file, the loop device, the file system; shrinking,
// the file system, then, once it says that it is as small as asked, the file and
// the loop device; last the record. Killed in between, the next command goes on
// where the file system, or growing the file, has the new size, and takes the
// file system back to its old one otherwise.
func (s *System) ResizePool(ctx context.Context, name, size string, progress func(Progress)) error {
	return s.resizePool(ctx, name, size, strings.TrimSpace(size) == "min", progress)
}

// resizePool is ResizePool; with least, sizes somewhat above are as good.
func (s *System) resizePool(ctx context.Context, name, size string, least bool, progress func(Progress)) error {
	p, err := s.openPool(ctx, name)
	if err != nil {
		return err
	}
	defer func() { _ = p.close() }()
	unlock, err := s.dir.LockPoolWork(ctx, name, true)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.recoverResizes(ctx); err != nil {
		return fmt.Errorf("cannot resize pool %s: %w", name, err)
	}
	if p.rec, err = s.loadPool(name); err != nil { // as the one before left it
		return err
	}
	tries := 1
	if least {
		tries = leastTries
	}
	err = s.tryResize(ctx, p.rec, size, tries, progress)
	if errors.Is(err, btrfs.ErrBusy) {
		err = withHint(err, "poolctl pool balance %s --status tells of a balance, --cancel ends it", name)
	}
	if err != nil {
		return fmt.Errorf("cannot resize pool %s: %w", name, err)
	}
	return nil
}

// planResize says which size is meant and refuses what cannot be.
func (s *System) planResize(rec state.PoolRecord, size string) (resizing, error) {
	r := resizing{Name: rec.Name, UUID: rec.UUID}
	if rec.Kind == state.PoolDirectory {
		return r, withHint(errors.New("it is a subvolume of a file system that is not poolctl's"), "resize that file system, which is mounted from elsewhere")
	}
	if err := s.refuseStrangers(rec); err != nil {
		return r, err
	}
	dev, err := s.ownFSDevice(rec)
	if err != nil {
		return r, err
	}
	r.From = int64(dev.TotalBytes)
	room, err := s.sourceSize(rec)
	if err != nil {
		return r, err
	}
	r.Source = room
	if r.To, err = s.wantedSize(rec, size, r.From, room); err != nil {
		return r, err
	}
	r.Size = sizeText(strings.TrimSpace(size), r.To)
	return r, s.checkResize(rec, r, room)
}

// sizeText is a size for the configuration: as the user wrote it, else in a unit
// where that is exact, else in bytes.
func sizeText(text string, size int64) string {
	for _, s := range []string{text, FormatSize(size)} {
		if n, err := ParseSize(s); err == nil && n&^4095 == size {
			return s
		}
	}
	return strconv.FormatInt(size, 10) + "B"
}

// ownFSDevice is the one device of an attached pool's file system.
func (s *System) ownFSDevice(rec state.PoolRecord) (btrfs.Device, error) {
	info, err := btrfs.FSInfo(s.dir.MountPoint(rec.Name))
	if err != nil {
		return btrfs.Device{}, err
	}
	if len(info.Devices) != 1 {
		return btrfs.Device{}, fmt.Errorf("its file system has %d devices, and poolctl resizes only those with one", len(info.Devices))
	}
	return info.Devices[0], nil
}

// sourceSize is how large the pool's file or device is, in bytes.
func (s *System) sourceSize(rec state.PoolRecord) (int64, error) {
	if rec.Kind != state.PoolDevice {
		st, lost := s.ownFile(rec)
		return st.Size, lost
	}
	path, err := findDevice(rec)
	if err != nil {
		return 0, err
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	size, err := deviceSize(f)
	return size, errors.Join(err, f.Close())
}

// wantedSize reads what the user wrote. have is the size now, room that of the
// file or device.
func (s *System) wantedSize(rec state.PoolRecord, text string, have, room int64) (int64, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "min":
		least, err := btrfs.MinimumSize(s.dir.MountPoint(rec.Name))
		return int64(least), err
	case text == "max" && rec.Kind == state.PoolDevice:
		return room &^ 4095, nil
	case text == "max":
		return 0, withHint(errors.New("max is for pools on a block device"), "a pool in a file grows to any size: poolctl pool resize %s +10GiB", rec.Name)
	}
	number, sign := text, int64(0)
	if cut, ok := strings.CutPrefix(text, "+"); ok {
		number, sign = cut, 1
	} else if cut, ok := strings.CutPrefix(text, "-"); ok {
		number, sign = cut, -1
	}
	n, err := ParseSize(number)
	if err != nil {
		return 0, err
	}
	if sign != 0 {
		n = have + sign*n
	}
	if n == 0 && sign == 0 {
		return 0, withHint(errors.New("a pool has a size above 0"), "poolctl pool resize %s min makes it as small as it can be; poolctl pool delete deletes it", rec.Name)
	}
	if n <= 0 {
		return 0, withHint(fmt.Errorf("that is less than nothing: it has %s", FormatSize(have)), "poolctl pool resize %s min makes it as small as it can be", rec.Name)
	}
	if n < 4096 { // which is refused as it was written
		return n, nil
	}
	return n &^ 4095, nil
}

// resize does it, journalled.
func (s *System) resize(ctx context.Context, rec state.PoolRecord, r resizing, progress func(Progress)) error {
	e, err := journal.Begin(ctx, s.journalDir(), "pool-resize", r)
	if err != nil {
		return err
	}
	crash.Point("pool.resize.begun")
	if r.shrinks() {
		err = s.shrinkFileSystem(ctx, rec, r, progress)
	} else {
		err = s.extendSource(rec, r)
	}
	if err == nil { // from here on it goes forward only
		err = s.settleResize(context.WithoutCancel(ctx), rec, r)
	}
	if err != nil {
		if uerr := s.undoResize(context.WithoutCancel(ctx), rec, r); uerr != nil {
			return errors.Join(err, uerr, e.Close()) // the next command tries again
		}
	}
	return errors.Join(err, e.Done())
}

// shrinkFileSystem makes the file system smaller and checks that the kernel says
// so: what is behind its end is cut off next.
func (s *System) shrinkFileSystem(ctx context.Context, rec state.PoolRecord, r resizing, progress func(Progress)) error {
	dev, err := s.ownFSDevice(rec)
	if err != nil {
		return err
	}
	o := btrfs.ShrinkOptions{Before: s.roomForStep(rec)}
	if progress != nil {
		o.Progress = func(p btrfs.ShrinkProgress) {
			if p.Total > 0 {
				progress(Progress{Name: "move", Done: int64(p.Moved), Total: int64(p.Total)})
			}
		}
	}
	err = s.watchHost(ctx, rec, func(ctx context.Context) error {
		return btrfs.Shrink(ctx, s.dir.MountPoint(rec.Name), dev.ID, uint64(r.To), o)
	})
	if errors.Is(err, btrfs.ErrNoRoom) {
		return s.hintNoRoom(rec, r.To, err)
	}
	return err
}

// extendSource makes the file of a pool larger, durably, and with reserve all
// blocks of it. A device is as large as it is.
func (s *System) extendSource(rec state.PoolRecord, r resizing) error {
	if rec.Kind == state.PoolDevice {
		return nil
	}
	f, st, err := s.openOwnFile(rec)
	if err != nil {
		return err
	}
	if st.Size < r.To {
		err = f.Truncate(r.To)
	}
	if err == nil && isTrue(rec.Config["reserve"]) {
		err = reserveFile(f, rec.Source)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	crash.Point("pool.resize.extended")
	return nil
}

// openOwnFile opens the file that holds the pool for writing, which must still be
// that at its path.
func (s *System) openOwnFile(rec state.PoolRecord) (*os.File, unix.Stat_t, error) {
	want, lost := s.ownFile(rec)
	if lost != nil {
		return nil, want, lost
	}
	f, err := os.OpenFile(rec.Source, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, want, err
	}
	var st unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &st)
	if err == nil && (st.Dev != want.Dev || st.Ino != want.Ino) {
		err = fmt.Errorf("%s was replaced just now", rec.Source)
	}
	if err != nil {
		return nil, st, errors.Join(err, f.Close())
	}
	return f, st, nil
}

// settleResize takes what is left of the steps: everything agrees on r.To then.
// Each may have been taken already.
func (s *System) settleResize(ctx context.Context, rec state.PoolRecord, r resizing) error {
	dev, err := s.ownFSDevice(rec)
	if err != nil {
		return err
	}
	if r.shrinks() && int64(dev.TotalBytes) > r.To {
		return fmt.Errorf("the kernel says that the file system has %d bytes, not %d", dev.TotalBytes, r.To)
	}
	if err := s.fitFile(rec, r.To, r.shrinks()); err != nil {
		return err
	}
	if int64(dev.TotalBytes) < r.To {
		if err := btrfs.Resize(ctx, s.dir.MountPoint(rec.Name), dev.ID, uint64(r.To)); err != nil {
			return err
		}
	}
	crash.Point("pool.resize.fitted")
	if rec.Kind == state.PoolDevice {
		return nil
	}
	return s.recordSize(ctx, rec.Name, r)
}

// fitFile cuts a pool's file off at size when cut says so, and makes the loop
// device as large as the file.
func (s *System) fitFile(rec state.PoolRecord, size int64, cut bool) error {
	if rec.Kind == state.PoolDevice {
		return nil
	}
	f, st, err := s.openOwnFile(rec)
	if err != nil {
		return err
	}
	if cut && st.Size > size {
		crash.Point("pool.resize.shrunk")
		err = errors.Join(f.Truncate(size), f.Sync())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	crash.Point("pool.resize.cut")
	loops, err := loopdev.Find(rec.Source)
	if err != nil {
		return err
	}
	for _, l := range loops {
		if err := loopdev.SetCapacity(l.Number); err != nil && !errors.Is(err, loopdev.ErrNotAttached) {
			return err
		}
	}
	crash.Point("pool.resize.capacity")
	return nil
}

// recordSize notes the new size in the pool's record.
func (s *System) recordSize(ctx context.Context, name string, r resizing) error {
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := s.loadPool(name)
	if err != nil {
		return err
	}
	if rec.Config == nil {
		rec.Config = map[string]string{}
	}
	rec.Config["size"] = r.Size
	return s.savePool(rec)
}

// undoResize takes the file system back to its old size, and the file of one that
// was to grow.
func (s *System) undoResize(ctx context.Context, rec state.PoolRecord, r resizing) error {
	dev, err := s.ownFSDevice(rec)
	if err == nil && int64(dev.TotalBytes) != r.From {
		if low, free := lowHost(rec); low && s.giveBack(rec, free) != nil {
			s.noticef("pool %s could not be trimmed", rec.Name)
		}
		err = btrfs.Resize(ctx, s.dir.MountPoint(rec.Name), dev.ID, uint64(r.From))
	}
	if err == nil {
		err = s.fitFile(rec, r.Source, true)
	}
	if err != nil {
		return fmt.Errorf("cannot take pool %s back to %s: %w", rec.Name, FormatSize(r.From), err)
	}
	return nil
}
