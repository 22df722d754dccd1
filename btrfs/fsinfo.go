package btrfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Filesystem describes a mounted file system.
type Filesystem struct {
	UUID                 string
	Nodesize, Sectorsize uint32 // bytes
	Devices              []Device
}

// Device is one of the devices of a file system.
type Device struct {
	ID         uint64
	UUID       string
	Path       string // as the kernel knows it; "" while the device is missing
	TotalBytes uint64 // what the file system uses of it at most
	BytesUsed  uint64 // allocated to block groups
}

// FSInfo describes the file system mounted at path and its devices, by
// ascending id (BTRFS_IOC_FS_INFO, BTRFS_IOC_DEV_INFO).
func FSInfo(path string) (Filesystem, error) {
	f, err := openDir(path)
	if err != nil {
		return Filesystem{}, fmt.Errorf("cannot describe the file system at %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	info, err := fsInfo(f)
	if err != nil {
		return Filesystem{}, fmt.Errorf("cannot describe the file system at %s: %w", path, err)
	}
	return info, nil
}

func fsInfo(f *os.File) (Filesystem, error) {
	var a fsInfoArgs
	if err := ioctl(int(f.Fd()), iocFSInfo, &a); err != nil {
		if errors.Is(err, unix.ENOTTY) {
			return Filesystem{}, fmt.Errorf("it is not btrfs: %w", err)
		}
		return Filesystem{}, os.NewSyscallError("BTRFS_IOC_FS_INFO", err)
	}
	out := Filesystem{UUID: formatUUID(a.FSID), Nodesize: a.Nodesize, Sectorsize: a.Sectorsize}
	for id := uint64(0); id <= a.MaxID; id++ { // 0 is the target of a replace
		d := devInfoArgs{DevID: id}
		err := ioctl(int(f.Fd()), iocDevInfo, &d)
		if errors.Is(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			return Filesystem{}, os.NewSyscallError("BTRFS_IOC_DEV_INFO", err)
		}
		out.Devices = append(out.Devices, Device{
			ID: d.DevID, UUID: formatUUID(d.UUID), Path: unix.ByteSliceToString(d.Path[:]),
			TotalBytes: d.TotalBytes, BytesUsed: d.BytesUsed,
		})
	}
	return out, nil
}

// DevStats counts the errors of a device since its file system was made, or
// the counters were reset (btrfs-device(8), stats).
type DevStats struct {
	WriteErrors      uint64 `json:"write_errors" yaml:"write_errors"`
	ReadErrors       uint64 `json:"read_errors" yaml:"read_errors"`
	FlushErrors      uint64 `json:"flush_errors" yaml:"flush_errors"`
	CorruptionErrors uint64 `json:"corruption_errors" yaml:"corruption_errors"` // wrong checksums and damaged contents
	GenerationErrors uint64 `json:"generation_errors" yaml:"generation_errors"` // metadata older or newer than expected
}

// DeviceStats reads the counters of one device of the file system mounted at
// path, by the id that FSInfo gives (BTRFS_IOC_GET_DEV_STATS).
func DeviceStats(path string, id uint64) (DevStats, error) {
	f, err := openDir(path)
	if err != nil {
		return DevStats{}, fmt.Errorf("cannot read the error counters at %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	a := devStatsArgs{DevID: id}
	a.Items = uint64(len(a.Values))
	if err := ioctl(int(f.Fd()), iocGetDevStats, &a); err != nil {
		return DevStats{}, fmt.Errorf("cannot read the error counters of device %d at %s: %w", id, path, os.NewSyscallError("BTRFS_IOC_GET_DEV_STATS", err))
	}
	v := a.Values
	return DevStats{WriteErrors: v[0], ReadErrors: v[1], FlushErrors: v[2], CorruptionErrors: v[3], GenerationErrors: v[4]}, nil
}
