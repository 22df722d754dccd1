package btrfs

import (
	"strings"
	"testing"

	"poolctl/fixtures/testfs"
)

func TestCheckMountOptions(t *testing.T) {
	for _, good := range []string{"", "user_subvol_rm_allowed", "compress=zstd:3,noacl,commit=60", "discard=async,compress=no"} {
		if err := CheckMountOptions(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	if CheckMountOptions("nosuchoption") == nil && testfs.OlderKernel(t, 6, 8) {
		return // it looks at them in mount(2) only
	}
	for _, bad := range []string{"commit=soon", "nosuchoption", "compress=zip", "acl,space_cache=v9"} {
		err := CheckMountOptions(bad)
		if last := bad[strings.LastIndex(bad, ",")+1:]; err == nil || !strings.Contains(err.Error(), last) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
