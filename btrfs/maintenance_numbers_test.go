package btrfs

import (
	"testing"
	"unsafe"
)

// As TestIoctlNumbers and TestStructLayout, for resizing, balancing, scrubbing and trimming.
func TestMaintenanceNumbers(t *testing.T) {
	for _, tt := range []struct {
		name      string
		got, want uintptr
	}{
		{"BTRFS_IOC_RESIZE", iocResize, 0x50009403},
		{"BTRFS_IOC_SCRUB", iocScrub, 0xc400941b},
		{"BTRFS_IOC_SCRUB_CANCEL", iocScrubCancel, 0x941c},
		{"BTRFS_IOC_SCRUB_PROGRESS", iocScrubProgress, 0xc400941d},
		{"BTRFS_IOC_BALANCE_V2", iocBalance, 0xc4009420},
		{"BTRFS_IOC_BALANCE_CTL", iocBalanceControl, 0x40049421},
		{"BTRFS_IOC_BALANCE_PROGRESS", iocBalanceProgress, 0x84009422},
		{"FITRIM", iocTrim, 0xc0185879},
		{"size of balanceIoctl", unsafe.Sizeof(balanceIoctl{}), 0x400},
		{"size of balanceArgs", unsafe.Sizeof(balanceArgs{}), 0x88},
		{"offset of balanceArgs.Flags", unsafe.Offsetof(balanceArgs{}.Flags), 0x40},
		{"offset of balanceArgs.StripesMin", unsafe.Offsetof(balanceArgs{}.StripesMin), 0x50},
		{"offset of balanceIoctl.Expected", unsafe.Offsetof(balanceIoctl{}.Expected), 0x1a8},
		{"size of scrubArgs", unsafe.Sizeof(scrubArgs{}), 0x400},
		{"offset of scrubArgs.Progress", unsafe.Offsetof(scrubArgs{}.Progress), 0x20},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %#x, want %#x", tt.name, tt.got, tt.want)
		}
	}
}
