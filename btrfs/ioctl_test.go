package btrfs

import (
	"testing"
	"unsafe"
)

// The numbers are those that a C program prints of linux/btrfs.h on amd64; each
// has the size of its structure in it.
func TestIoctlNumbers(t *testing.T) {
	for _, tt := range []struct {
		name      string
		got, want uintptr
	}{
		{"SYNC", iocSync, 0x9408},
		{"SNAP_DESTROY", iocSnapDestroy, 0x5000940f},
		{"TREE_SEARCH_V2", iocTreeSearchV2, 0xc0709411},
		{"INO_LOOKUP", iocInoLookup, 0xd0009412},
		{"SPACE_INFO", iocSpaceInfo, 0xc0109414},
		{"SNAP_CREATE_V2", iocSnapCreateV2, 0x50009417},
		{"START_SYNC", iocStartSync, 0x80089418},
		{"SUBVOL_GETFLAGS", iocGetFlags, 0x80089419},
		{"SUBVOL_SETFLAGS", iocSetFlags, 0x4008941a},
		{"DEV_INFO", iocDevInfo, 0xd000941e},
		{"FS_INFO", iocFSInfo, 0x8400941f},
		{"SET_RECEIVED_SUBVOL", iocSetReceived, 0xc0c89425},
		{"SEND", iocSend, 0x40489426},
		{"QUOTA_CTL", iocQuotaCtl, 0xc0109428},
		{"QGROUP_ASSIGN", iocQgroupAssign, 0x40189429},
		{"QGROUP_CREATE", iocQgroupCreate, 0x4010942a},
		{"QGROUP_LIMIT", iocQgroupLimit, 0x8030942b},
		{"QUOTA_RESCAN", iocQuotaRescan, 0x4040942c},
		{"QUOTA_RESCAN_STATUS", iocQuotaRescanStatus, 0x8040942d},
		{"GET_DEV_STATS", iocGetDevStats, 0xc4089434},
		{"GET_SUBVOL_INFO", iocGetSubvolInfo, 0x81f8943c},
	} {
		if tt.got != tt.want {
			t.Errorf("BTRFS_IOC_%s is %#x, want %#x", tt.name, tt.got, tt.want)
		}
	}
}

func TestStructLayout(t *testing.T) {
	for _, tt := range []struct {
		name      string
		got, want uintptr
	}{
		{"size of volArgs", unsafe.Sizeof(volArgs{}), 4096},
		{"size of volArgsV2", unsafe.Sizeof(volArgsV2{}), 4096},
		{"offset of volArgsV2.Name", unsafe.Offsetof(volArgsV2{}.Name), 0x38},
		{"size of subvolInfoArgs", unsafe.Sizeof(subvolInfoArgs{}), 504},
		{"offset of subvolInfoArgs.UUID", unsafe.Offsetof(subvolInfoArgs{}.UUID), 0x128},
		{"offset of subvolInfoArgs.OTime", unsafe.Offsetof(subvolInfoArgs{}.OTime), 0x188},
		{"size of inoLookupArgs", unsafe.Sizeof(inoLookupArgs{}), 4096},
		{"size of searchKey", unsafe.Sizeof(searchKey{}), 104},
		{"offset of searchArgs.Buf", unsafe.Offsetof(searchArgs{}.Buf), 112},
		{"size of spaceInfo", unsafe.Sizeof(spaceInfo{}), 24},
		{"offset of spaceArgs.Space", unsafe.Offsetof(spaceArgs{}.Space), 16},
		{"size of devInfoArgs", unsafe.Sizeof(devInfoArgs{}), 4096},
		{"offset of devInfoArgs.Path", unsafe.Offsetof(devInfoArgs{}.Path), 0xc00},
		{"size of fsInfoArgs", unsafe.Sizeof(fsInfoArgs{}), 1024},
		{"size of receivedArgs", unsafe.Sizeof(receivedArgs{}), 200},
		{"size of sendArgs", unsafe.Sizeof(sendArgs{}), 72},
		{"size of quotaCtlArgs", unsafe.Sizeof(quotaCtlArgs{}), 16},
		{"size of rescanArgs", unsafe.Sizeof(rescanArgs{}), 64},
		{"size of qgroupAssignArgs", unsafe.Sizeof(qgroupAssignArgs{}), 24},
		{"size of qgroupCreateArgs", unsafe.Sizeof(qgroupCreateArgs{}), 16},
		{"size of qgroupLimitArgs", unsafe.Sizeof(qgroupLimitArgs{}), 48},
		{"offset of scanArgs.Buf", unsafe.Offsetof(scanArgs{}.Buf), 112},
		{"size of devStatsArgs", unsafe.Sizeof(devStatsArgs{}), 1032},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, tt.got, tt.want)
		}
	}
}
