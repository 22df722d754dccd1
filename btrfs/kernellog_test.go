package btrfs

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKernelErrors(t *testing.T) {
	const uuid, other = "6e022914-9b0b-4410-9b76-23aabf84998c", "aaaaaaaa-9b0b-4410-9b76-23aabf84998c"
	log := strings.Split(`6,1,100,-;BTRFS info (device loop3): first mount of filesystem `+other+`
3,2,101,-;BTRFS error (device loop3 state A): Transaction aborted (error -5)
6,3,102,-;BTRFS info (device loop3): first mount of filesystem `+uuid+`
6,4,103,-;BTRFS info (device loop3): using crc32c
3,5,104,-;BTRFS error (device loop33): errno=-5 not this one
3,6,105,-;BTRFS: error (device loop3 state A) in __btrfs_free_extent:3233: errno=-28 No space left
 SUBSYSTEM=block
4,7,106,-;BTRFS info (device loop3 state EA): forced readonly
3,8,107,-;BTRFS error (device loop3 state EA): bdev /dev/loop3 errs: wr 5, rd 0
3,9,108,-;I/O error, dev loop3, sector 1
nonsense`, "\n")
	got := kernelErrors(log, uuid, "loop3")
	if len(got) != 2 || got[0].Errno != unix.ENOSPC || !strings.HasPrefix(got[0].Text, "BTRFS: error (device loop3 state A)") || got[1].Errno != 0 {
		t.Errorf("%+v", got)
	}
	if got := kernelErrors(log, other, "loop3"); len(got) != 0 {
		t.Errorf("of the file system that was there before: %+v", got)
	}
	_ = KernelErrors(uuid, "/dev/loop3") // it can be read here, or not: no harm
}

func FuzzKernelErrors(f *testing.F) {
	f.Add("3,5,104,-;BTRFS error (device loop3): errno=-5\nx")
	f.Add("3,5;BTRFS (device loop3 ) error -99999")
	f.Fuzz(func(t *testing.T, text string) {
		for _, e := range kernelErrors(strings.Split(text, "|"), "u", "loop3") {
			if !strings.Contains(e.Text, "loop3") || strings.Contains(e.Text, "\n") || e.Errno > 9999 {
				t.Errorf("%+v", e)
			}
		}
	})
}

// A file system that is read-only because somebody wanted it so has not failed.
func TestState(t *testing.T) {
	mnt := newFS(t)
	for _, options := range []uintptr{0, unix.MS_RDONLY, 0} {
		must(t, unix.Mount("", mnt, "", unix.MS_REMOUNT|options, ""))
		st, err := GetState(mnt)
		must(t, err)
		if st != (State{ReadOnly: options != 0}) {
			t.Errorf("remounted with %d: %+v", options, st)
		}
	}
	before, err := ResetDeviceStats(mnt, 1)
	must(t, err)
	if before.Sum() != 0 {
		t.Errorf("errors on a new device: %+v", before)
	}
	must(t, Sync(mnt))
}
