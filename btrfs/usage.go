package btrfs

import (
	"fmt"
	"slices"
	"strings"
)

// Usage says what a file system's space is used for, in bytes.
type Usage struct {
	Size        uint64 `json:"size" yaml:"size"`               // of all devices
	Used        uint64 `json:"used" yaml:"used"`               // of them, each copy counted
	Free        uint64 `json:"free" yaml:"free"`               // estimate of the data that can still be written
	Unallocated uint64 `json:"unallocated" yaml:"unallocated"` // of the devices, in no block group
	// What the block groups of each kind hold, each copy counted once. With
	// mixed block groups everything is in Data.
	Data     SpaceUsage `json:"data" yaml:"data"`
	Metadata SpaceUsage `json:"metadata" yaml:"metadata"`
	System   SpaceUsage `json:"system" yaml:"system"`
	// GlobalReserve is the part of Metadata that is kept for emergencies.
	GlobalReserve uint64 `json:"global_reserve" yaml:"global_reserve"`
}

// SpaceUsage is the usage of one kind of block groups.
type SpaceUsage struct {
	Allocated uint64 `json:"allocated" yaml:"allocated"`
	Used      uint64 `json:"used" yaml:"used"`
	Profile   string `json:"profile" yaml:"profile"` // "single", "dup", "raid1", ...; several joined by "+" while they are converted
}

// Block group flags (include/uapi/linux/btrfs_tree.h).
const (
	groupData     = 1 << 0
	groupSystem   = 1 << 1
	groupMetadata = 1 << 2
	groupReserve  = 1 << 49 // BTRFS_SPACE_INFO_GLOBAL_RSV
)

// profiles are the block group profiles: how many bytes of the devices, as
// numerator and denominator, each byte takes on n devices.
var profiles = []struct {
	flag uint64
	name string
	raw  func(n uint64) (num, den uint64)
}{
	{1 << 3, "raid0", copies(1)},
	{1 << 4, "raid1", copies(2)},
	{1 << 5, "dup", copies(2)},
	{1 << 6, "raid10", copies(2)},
	{1 << 7, "raid5", func(n uint64) (uint64, uint64) { return max(n, 2), max(n, 2) - 1 }},
	{1 << 8, "raid6", func(n uint64) (uint64, uint64) { return max(n, 3), max(n, 3) - 2 }},
	{1 << 9, "raid1c3", copies(3)},
	{1 << 10, "raid1c4", copies(4)},
}

func copies(n uint64) func(uint64) (uint64, uint64) {
	return func(uint64) (uint64, uint64) { return n, 1 }
}

// minUnallocated is the unallocated space below which none of it counts as
// free: no block group can be made of it (MIN_UNALOCATED_THRESH in
// btrfs-progs, cmds/filesystem-usage.c).
const minUnallocated = 16 << 20

// GetUsage reads the usage of the file system mounted at mountpoint
// (BTRFS_IOC_SPACE_INFO and BTRFS_IOC_DEV_INFO). Free is what "btrfs filesystem
// usage" calls "Free (estimated)"; of raid5 and raid6 both are rough.
func GetUsage(mountpoint string) (Usage, error) {
	f, err := openDir(mountpoint)
	if err != nil {
		return Usage{}, fmt.Errorf("cannot get the usage of %s: %w", mountpoint, err)
	}
	defer func() { _ = f.Close() }()
	info, err := fsInfo(f)
	if err != nil {
		return Usage{}, fmt.Errorf("cannot get the usage of %s: %w", mountpoint, err)
	}
	spaces, err := spaceInfos(f)
	if err != nil {
		return Usage{}, fmt.Errorf("cannot get the usage of %s: %w", mountpoint, err)
	}
	return computeUsage(info.Devices, spaces), nil
}

// rawSpace counts bytes of the devices.
type rawSpace struct{ allocated, used uint64 }

// computeUsage sums up as print_filesystem_usage_overall of btrfs-progs does
// (cmds/filesystem-usage.c).
func computeUsage(devices []Device, spaces []spaceInfo) Usage {
	var u Usage
	for _, d := range devices {
		u.Size += d.TotalBytes
	}
	var all, data rawSpace
	mixed := false
	for _, sp := range spaces {
		if sp.Flags&groupReserve != 0 {
			u.GlobalReserve += sp.Total
			continue
		}
		name, num, den := profileOf(sp.Flags, uint64(len(devices)))
		raw := rawSpace{sp.Total * num / den, sp.Used * num / den}
		all.allocated += raw.allocated
		all.used += raw.used
		switch {
		case sp.Flags&groupData != 0:
			u.Data.add(sp, name)
			data.allocated += raw.allocated
			data.used += raw.used
			mixed = mixed || sp.Flags&groupMetadata != 0
		case sp.Flags&groupMetadata != 0:
			u.Metadata.add(sp, name)
		case sp.Flags&groupSystem != 0:
			u.System.add(sp, name)
		}
	}
	u.Used = all.used
	u.Unallocated = subtract(u.Size, all.allocated)
	ratio := 1.0 // raw per logical byte
	if u.Data.Allocated > 0 {
		ratio = float64(data.allocated) / float64(u.Data.Allocated)
	}
	u.Free = uint64(float64(subtract(data.allocated, data.used)) / ratio)
	if u.Unallocated >= minUnallocated {
		u.Free += uint64(float64(u.Unallocated) / ratio)
	}
	if mixed {
		u.Free = subtract(u.Free, u.GlobalReserve)
	}
	return u
}

func (s *SpaceUsage) add(sp spaceInfo, profile string) {
	s.Allocated += sp.Total
	s.Used += sp.Used
	names := strings.FieldsFunc(s.Profile, func(r rune) bool { return r == '+' })
	if sp.Total > 0 && !slices.Contains(names, profile) {
		s.Profile = strings.Join(append(names, profile), "+")
	}
}

func profileOf(flags, devices uint64) (name string, num, den uint64) {
	for _, p := range profiles {
		if flags&p.flag != 0 {
			num, den = p.raw(devices)
			return p.name, num, den
		}
	}
	return "single", 1, 1
}

// subtract is a-b, and 0 where that would be negative.
func subtract(a, b uint64) uint64 {
	return a - min(a, b)
}
