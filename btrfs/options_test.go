package btrfs

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCheckMountOptions(t *testing.T) {
	for _, good := range []string{"", "user_subvol_rm_allowed", "compress=zstd:3,noacl,commit=60", "discard=async,compress=no"} {
		if err := CheckMountOptions(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	if CheckMountOptions("nosuchoption") == nil && olderThan(t, 6, 8) {
		t.Skip("Linux before 6.8 looks at them in mount(2) only")
	}
	for _, bad := range []string{"commit=soon", "nosuchoption", "compress=zip", "acl,space_cache=v9"} {
		err := CheckMountOptions(bad)
		if last := bad[strings.LastIndex(bad, ",")+1:]; err == nil || !strings.Contains(err.Error(), last) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// olderThan says whether the kernel is older than a version.
func olderThan(t *testing.T, major, minor int) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var have [2]int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &have[0], &have[1]); err != nil {
		t.Fatal(err)
	}
	return have[0] < major || have[0] == major && have[1] < minor
}
