package btrfs

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A limit is seen at once, on whichever qgroup it is, with what counts for it; and whether all nested subvolumes do.
func TestLiveQuota(t *testing.T) {
	for _, mode := range []QuotaMode{QuotaSimple, QuotaFull} {
		t.Run(mode.String(), func(t *testing.T) {
			mnt := newFS(t)
			enable(t, mnt, mode)
			volume := mnt + "/a b"
			own := subvol(t, volume)
			group := MakeQgroupID(1, own.Number())
			live, err := NewLiveQuota(volume)
			must(t, err)
			look := func() QuotaNow {
				t.Helper()
				now, err := live.Look()
				must(t, err)
				return now
			}
			nested := func(any, all bool) {
				t.Helper()
				if gotAny, gotAll, err := live.Nested(); err != nil || gotAny != any || gotAll != all {
					t.Errorf("nested: %v, %v, %v; want %v, %v", gotAny, gotAll, err, any, all)
				}
			}
			if now := look(); now != (QuotaNow{}) {
				t.Errorf("without a limit: %+v", now)
			}
			must(t, LimitQgroup(mnt, own, 8<<20))
			first := look()
			if first.Mode != mode || first.Group || first.Limit != 8<<20 || first.Inconsistent {
				t.Errorf("a limit of its own: %+v", first)
			}
			nested(false, true)
			if n, err := fill(t, volume+"/file", 4<<20); err != nil || n != 4<<20 {
				t.Fatal(n, err)
			}
			must(t, Sync(mnt))
			if first = look(); first.Referenced < 4<<20 {
				t.Errorf("with 4 MiB: %+v", first)
			}
			must(t, unix.Unlink(volume+"/file")) // not committed
			second := look()
			if second.Changed == first.Changed || second.Subvolumes != first.Subvolumes {
				t.Errorf("after a change: %+v, before %+v", second, first)
			}
			must(t, LimitQgroup(mnt, own, NoLimit))
			must(t, CreateQgroup(mnt, group))
			must(t, AssignQgroup(mnt, own, group))
			must(t, LimitQgroup(mnt, group, 6<<20))
			if now := look(); !now.Group || now.Limit != 6<<20 || now.Mode != mode {
				t.Errorf("a limit of the group: %+v", now)
			}
			sub := subvol(t, volume+"/nes ted")
			if now := look(); now.Subvolumes == second.Subvolumes {
				t.Errorf("a subvolume that came up is not seen: %+v", now)
			}
			nested(true, mode == QuotaSimple) // there the kernel puts it into the group
			if mode == QuotaFull {
				must(t, AssignQgroup(mnt, sub, group))
				nested(true, true)
				must(t, Sync(mnt))
				must(t, Snapshot(volume+"/nes ted", mnt+"/elsewhere", true))
				if !look().Inconsistent {
					t.Error("that the kernel has lost count is not seen")
				}
				must(t, StartRescan(mnt))
				must(t, StartRescan(mnt)) // runs or is done: no error
				must(t, RescanQuota(t.Context(), mnt))
				if look().Inconsistent {
					t.Error("after a rescan")
				}
			}
			n, err := LiveReferenced(mnt, group)
			if now := look(); err != nil || n != now.Referenced {
				t.Errorf("%d, %v; %+v", n, err, now)
			}
			if allocs := testing.AllocsPerRun(100, func() { _, _ = live.Look() }); allocs > 0 {
				t.Errorf("%v allocations for a look", allocs)
			}
			must(t, DisableQuota(mnt))
			if now := look(); now != (QuotaNow{}) {
				t.Errorf("without quotas: %+v", now)
			}
		})
	}
}
