package pool

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/holders"
	"poolctl/pool/state"
)

// Stranger is a loop device that has a pool's file besides the device that the
// pool is mounted from. Somebody else made it, by whichever name of the file.
type Stranger struct {
	Device      string `json:"device" yaml:"device"` // "/dev/loop8"
	BackingFile string `json:"backing_file" yaml:"backing_file"`
	Offset      uint64 `json:"offset" yaml:"offset"`
	ReadOnly    bool   `json:"read_only" yaml:"read_only"`
	// UsedBy are its users: "mounted at /mnt", "open for writing by process 7 (dd, ...)".
	UsedBy []string `json:"used_by" yaml:"used_by"`
	// Harmful says that what its users write destroys the pool: it is in use and
	// not read-only.
	Harmful bool `json:"harmful" yaml:"harmful"`

	mounts    []holders.Mount
	autoclear bool // it goes with its last mount
}

// strangers lists the loop devices that have the pool's file, or device, besides
// the one that the pool is mounted from, and with the pool not mounted besides
// the one that attaching would use.
func (s *System) strangers(rec state.PoolRecord) ([]Stranger, error) {
	if rec.Kind == state.PoolDirectory {
		return nil, nil
	}
	loops, err := s.loopsOf(rec)
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	own, err := ownDevice(rec, loops)
	if err != nil {
		return nil, err
	}
	var out []Stranger
	for _, l := range loops {
		if l.Path == own {
			continue
		}
		st, err := describeStranger(l)
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	return out, nil
}

// loopsOf lists the loop devices that have a pool's file, or device, wherever the
// file of an attached pool is by now.
func (s *System) loopsOf(rec state.PoolRecord) ([]loopdev.Info, error) {
	strayed, err := s.findStrayed(rec)
	if err != nil {
		return nil, err
	}
	if strayed == nil {
		return loopdev.Find(rec.Source)
	}
	all, err := loopdev.List()
	return slices.DeleteFunc(all, func(l loopdev.Info) bool {
		return l.Dev != strayed.loop.Dev || l.Inode != strayed.loop.Inode
	}), err
}

// ownDevice is which of the loop devices on a pool's file is the pool's: the one
// that the file system of its UUID is mounted from. While that is not mounted,
// it is the one to attach it with: the first that shows all of the file, can be
// written to, and is not mounted under a temporary UUID; "" when there is none. A pool on a block device has no loop
// device of its own.
func ownDevice(rec state.PoolRecord, loops []loopdev.Info) (string, error) {
	if rec.Kind == state.PoolDevice {
		return "", nil
	}
	active, err := btrfs.ActiveOf(rec.UUID)
	if err != nil {
		return "", err
	}
	for _, a := range active {
		for _, l := range loops {
			if !a.Temporary && a.Has(loopNumber(l)) {
				return l.Path, nil
			}
		}
	}
	for _, l := range loops {
		temporary := slices.ContainsFunc(active, func(a btrfs.Active) bool { return a.Temporary && a.Has(loopNumber(l)) })
		if !l.ReadOnly && l.Offset == 0 && l.SizeLimit == 0 && !temporary {
			return l.Path, nil
		}
	}
	return "", nil
}

// loopNumber is the device number of a loop device: its major is 7 (LOOP_MAJOR
// in include/uapi/linux/major.h), and its minor is its own number as long as
// max_part, which poolctl has no use for, is not set.
func loopNumber(l loopdev.Info) uint64 {
	var st unix.Stat_t
	if err := unix.Stat(l.Path, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return st.Rdev
	}
	return unix.Mkdev(7, uint32(l.Number))
}

// describeStranger finds out what a loop device is used for.
func describeStranger(l loopdev.Info) (Stranger, error) {
	st := Stranger{Device: l.Path, BackingFile: l.BackingFile, Offset: l.Offset, ReadOnly: l.ReadOnly, UsedBy: []string{}, autoclear: l.Autoclear}
	mounts, err := holders.Mounts(mountedFrom(l))
	if err != nil {
		return st, err
	}
	st.mounts = mounts
	for _, m := range mounts {
		how := "mounted at "
		if m.ReadOnly {
			how = "mounted read-only at "
		}
		st.UsedBy = append(st.UsedBy, how+m.String())
	}
	name := filepath.Base(l.Path)
	if active, err := filepath.Glob("/sys/fs/btrfs/*/devices/" + name); err == nil && len(active) > 0 && len(mounts) == 0 {
		st.UsedBy = append(st.UsedBy, "mounted where no process sees it")
	}
	if above, err := os.ReadDir("/sys/block/" + name + "/holders"); err == nil {
		for _, a := range above {
			st.UsedBy = append(st.UsedBy, "part of /dev/"+a.Name())
		}
	}
	if len(mounts) == 0 && !l.ReadOnly {
		dev := loopNumber(l)
		procs, err := holders.Processes(named, func(p holders.Link) bool {
			return strings.Contains(string(p), "/fd/") && p.IsDevice(dev)
		})
		if err != nil {
			return st, err
		}
		for _, p := range procs {
			st.UsedBy = append(st.UsedBy, "open for writing by "+p.String())
		}
	}
	st.Harmful = !l.ReadOnly && len(st.UsedBy) > 0
	return st, nil
}

// mountedFrom says of a mount whether what it shows is on the loop device.
func mountedFrom(l loopdev.Info) func(holders.Mount) bool {
	dev := loopNumber(l)
	return func(m holders.Mount) bool {
		return m.Dev == dev || m.Source == l.Path // btrfs has a number of its own
	}
}

// remedy is what to type against a stranger.
func (st Stranger) remedy() string {
	var steps []string
	for _, m := range st.mounts {
		if st.ReadOnly && m.PID == 0 && m.ReadOnly && isRootOfInstance(m.Root) {
			steps = append(steps, "poolctl umount "+m.MountPoint) // a look
			continue
		}
		steps = append(steps, umountCommand(m))
	}
	if st.autoclear && len(steps) > 0 {
		return strings.Join(steps, " && ")
	}
	return strings.Join(append(steps, "losetup -d "+st.Device), " && ")
}

// String is "/dev/loop8 (mounted at /mnt)".
func (st Stranger) String() string {
	if len(st.UsedBy) == 0 {
		return st.Device
	}
	return st.Device + " (" + strings.Join(st.UsedBy, ", ") + ")"
}

// refuseStrangers refuses an operation on a pool while another loop device
// on its file is in use and can be written to: resize, balance, delete and the
// like would destroy one of the two, or both. Of strangers that are read-only or
// not in use the user is told.
func (s *System) refuseStrangers(rec state.PoolRecord) error {
	strangers, err := s.strangers(rec)
	if err != nil {
		return err
	}
	for _, st := range strangers {
		if st.Harmful {
			return withHint(fmt.Errorf("%w: %s has its file %s as well, and two that write to one file destroy what is in it", ErrInUse, st, rec.Source),
				"%s", st.remedy())
		}
	}
	for _, st := range strangers {
		s.noticeStranger(rec, st)
	}
	return nil
}

// reportStrangers tells of the loop devices that have an attached pool's file
// besides the one that is mounted.
func (s *System) reportStrangers(rec state.PoolRecord) error {
	strangers, err := s.strangers(rec)
	for _, st := range strangers {
		s.noticeStranger(rec, st)
	}
	return err
}

func (s *System) noticeStranger(rec state.PoolRecord, st Stranger) {
	what := "writing to it destroys the pool"
	if st.ReadOnly {
		what = "read-only, so that it shows what changes beneath it"
	}
	s.noticef("%s has pool %s's file attached a second time; %s: %s", st, rec.Name, what, st.remedy())
}
