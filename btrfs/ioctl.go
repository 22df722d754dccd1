package btrfs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Structures and numbers of include/uapi/linux/btrfs.h. Their sizes are part of
// the numbers, and pinned by a test. golang.org/x/sys has none of them;
// dennwc/btrfs does not export its own.

const (
	nameMax  = 255  // BTRFS_NAME_LEN, one component
	volNames = 4088 // BTRFS_PATH_NAME_MAX + 1
	v2Names  = 4040 // BTRFS_SUBVOL_NAME_MAX + 1

	subvolReadOnly = 1 << 1 // BTRFS_SUBVOL_RDONLY, in ioctls
	rootReadOnly   = 1 << 0 // BTRFS_ROOT_SUBVOL_RDONLY, in root items

	fsInfoGeneration = 1 << 1 // BTRFS_FS_INFO_FLAG_GENERATION

	firstFreeObjectID = 256 // inode of a subvolume's root directory; first id of a subvolume
	placeholderInode  = 2   // BTRFS_EMPTY_SUBVOL_DIR_OBJECTID: what a snapshot has where a nested subvolume was
	rootTreeID        = 1   // BTRFS_ROOT_TREE_OBJECTID
	topLevelID        = 5   // BTRFS_FS_TREE_OBJECTID
)

// volArgs is struct btrfs_ioctl_vol_args.
type volArgs struct {
	FD   int64
	Name [volNames]byte
}

// volArgsV2 is struct btrfs_ioctl_vol_args_v2.
type volArgsV2 struct {
	FD      int64
	TransID uint64
	Flags   uint64
	_       [4]uint64
	Name    [v2Names]byte
}

// timespec is struct btrfs_ioctl_timespec.
type timespec struct {
	Sec  uint64
	Nsec uint32
	_    uint32
}

// subvolInfoArgs is struct btrfs_ioctl_get_subvol_info_args.
type subvolInfoArgs struct {
	TreeID                                 uint64
	Name                                   [nameMax + 1]byte
	ParentID                               uint64
	DirID                                  uint64
	Generation                             uint64
	Flags                                  uint64
	UUID                                   [16]byte
	ParentUUID                             [16]byte
	ReceivedUUID                           [16]byte
	CTransID, OTransID, STransID, RTransID uint64
	CTime, OTime, STime, RTime             timespec
	_                                      [8]uint64
}

// inoLookupArgs is struct btrfs_ioctl_ino_lookup_args.
type inoLookupArgs struct {
	TreeID   uint64
	ObjectID uint64
	Name     [4080]byte
}

// searchKey is struct btrfs_ioctl_search_key.
type searchKey struct {
	TreeID                   uint64
	MinObjectID, MaxObjectID uint64
	MinOffset, MaxOffset     uint64
	MinTransID, MaxTransID   uint64
	MinType, MaxType         uint32
	NrItems                  uint32
	_                        uint32
	_                        [4]uint64
}

// searchArgs is struct btrfs_ioctl_search_args_v2 with a buffer of this size.
type searchArgs struct {
	Key     searchKey
	BufSize uint64
	Buf     [16 << 10]byte
}

// spaceInfo is struct btrfs_ioctl_space_info.
type spaceInfo struct {
	Flags, Total, Used uint64
}

// spaceArgs is struct btrfs_ioctl_space_args with room for this many.
type spaceArgs struct {
	Slots, Spaces uint64
	Space         [64]spaceInfo
}

// devInfoArgs is struct btrfs_ioctl_dev_info_args. The file system id was added
// in Linux 6.3, in what was padding.
type devInfoArgs struct {
	DevID      uint64
	UUID       [16]byte
	BytesUsed  uint64
	TotalBytes uint64
	FSID       [16]byte
	_          [377]uint64
	Path       [1024]byte
}

// fsInfoArgs is struct btrfs_ioctl_fs_info_args.
type fsInfoArgs struct {
	MaxID, NumDevices                    uint64
	FSID                                 [16]byte
	Nodesize, Sectorsize, CloneAlignment uint32
	CsumType, CsumSize                   uint16
	Flags                                uint64 // in: what to fill in besides
	Generation                           uint64
	MetadataUUID                         [16]byte
	_                                    [944]byte
}

// devStatsArgs is struct btrfs_ioctl_get_dev_stats.
type devStatsArgs struct {
	DevID, Items, Flags uint64
	Values              [5]uint64
	_                   [121]uint64
}

// quotaCtlArgs is struct btrfs_ioctl_quota_ctl_args.
type quotaCtlArgs struct {
	Command, Status uint64
}

// Commands of quotaCtlArgs (BTRFS_QUOTA_CTL_*).
const (
	quotaEnable       = 1
	quotaDisable      = 2
	quotaEnableSimple = 4 // from Linux 6.7 on
)

// rescanArgs is struct btrfs_ioctl_quota_rescan_args.
type rescanArgs struct {
	Flags, Progress uint64
	_               [6]uint64
}

// qgroupAssignArgs is struct btrfs_ioctl_qgroup_assign_args.
type qgroupAssignArgs struct {
	Assign, Src, Dst uint64
}

// qgroupCreateArgs is struct btrfs_ioctl_qgroup_create_args.
type qgroupCreateArgs struct {
	Create, ID uint64
}

// qgroupLimitArgs is struct btrfs_ioctl_qgroup_limit_args.
type qgroupLimitArgs struct {
	ID                          uint64
	Flags                       uint64 // which of the limits are set
	MaxReferenced, MaxExclusive uint64
	_                           [2]uint64
}

// sendArgs is struct btrfs_ioctl_send_args.
type sendArgs struct {
	FD           int64
	CloneSources uint64 // how many
	Clones       uintptr
	ParentRoot   uint64
	Flags        uint64
	Version      uint32
	_            [28]byte
}

// The encoding of ioctl numbers that most architectures share
// (include/uapi/asm-generic/ioctl.h).
const (
	iocWrite = 1 << 30
	iocRead  = 2 << 30
	magic    = 0x94 << 8 // BTRFS_IOCTL_MAGIC
)

const (
	iocSync              = magic | 8
	iocSnapDestroy       = iocWrite | magic | 15 | unsafe.Sizeof(volArgs{})<<16
	iocTreeSearchV2      = iocRead | iocWrite | magic | 17 | (unsafe.Sizeof(searchKey{})+8)<<16
	iocInoLookup         = iocRead | iocWrite | magic | 18 | unsafe.Sizeof(inoLookupArgs{})<<16
	iocSpaceInfo         = iocRead | iocWrite | magic | 20 | 16<<16
	iocSnapCreateV2      = iocWrite | magic | 23 | unsafe.Sizeof(volArgsV2{})<<16
	iocStartSync         = iocRead | magic | 24 | 8<<16
	iocGetFlags          = iocRead | magic | 25 | 8<<16
	iocSetFlags          = iocWrite | magic | 26 | 8<<16
	iocDevInfo           = iocRead | iocWrite | magic | 30 | unsafe.Sizeof(devInfoArgs{})<<16
	iocFSInfo            = iocRead | magic | 31 | unsafe.Sizeof(fsInfoArgs{})<<16
	iocSetReceived       = iocRead | iocWrite | magic | 37 | unsafe.Sizeof(receivedArgs{})<<16
	iocSend              = iocWrite | magic | 38 | unsafe.Sizeof(sendArgs{})<<16
	iocQuotaCtl          = iocRead | iocWrite | magic | 40 | unsafe.Sizeof(quotaCtlArgs{})<<16
	iocQgroupAssign      = iocWrite | magic | 41 | unsafe.Sizeof(qgroupAssignArgs{})<<16
	iocQgroupCreate      = iocWrite | magic | 42 | unsafe.Sizeof(qgroupCreateArgs{})<<16
	iocQgroupLimit       = iocRead | magic | 43 | unsafe.Sizeof(qgroupLimitArgs{})<<16
	iocQuotaRescan       = iocWrite | magic | 44 | unsafe.Sizeof(rescanArgs{})<<16
	iocQuotaRescanStatus = iocRead | magic | 45 | unsafe.Sizeof(rescanArgs{})<<16
	iocGetDevStats       = iocRead | iocWrite | magic | 52 | unsafe.Sizeof(devStatsArgs{})<<16
	iocGetSubvolInfo     = iocRead | magic | 60 | unsafe.Sizeof(subvolInfoArgs{})<<16
)

// ioctl calls ioctl(2) with a pointer to arg, and returns the bare errno.
func ioctl[T any](fd int, request uintptr, arg *T) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(arg)))
	if errno != 0 {
		return errno
	}
	return nil
}
