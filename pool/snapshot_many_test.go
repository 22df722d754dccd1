package pool

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestManySnapshots: the last of 300 snapshots of an instance take little longer than the first of another one, which are made in
// turn with them, and each keeps little of what there was before; and with so many, they are listed, shown, renamed, deleted and
// restored. scripts/many has a thousand.
func TestManySnapshots(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	busyboxInstance(t, s, "p1", "many")
	busyboxInstance(t, s, "p1", "few")
	for _, name := range []string{"many", "few"} { // as much configuration as one of LXD's has
		ok(t, s.SetInstanceConfig(ctx, name, map[string]string{
			"user.description": "Alpinelinux 3.8 x86_64 (20181129_13:00)", "user.serial": "20181129_13:00", "user.type": "squashfs", "user.variant": "default",
			"user.image": "ef1a4fe020b6e0705a23f155e167aa57b088580740eefaba52008d4fe202e6cf", "user.id": "952106a6-aaa9-4679-bd6e-c20983644624",
			"user.idmap": `[{"Isuid":true,"Isgid":false,"Hostid":100000,"Nsid":0,"Maprange":10000001},{"Isuid":false,"Isgid":true,"Hostid":100000,"Nsid":0,"Maprange":10000001}]`,
		}))
	}
	const count, measured = 300, 20
	take := func(name string) (took, cpu time.Duration) {
		began, used := time.Now(), processorTime(t)
		_, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: name})
		ok(t, err)
		return time.Since(began), processorTime(t) - used
	}
	began := time.Now()
	for range count - measured {
		take("many")
	}
	t.Logf("%d snapshots in %v", count-measured, time.Since(began))
	var first, last []time.Duration
	var firstCPU, lastCPU time.Duration
	for range measured {
		took, cpu := take("many")
		last, lastCPU = append(last, took), lastCPU+cpu
		took, cpu = take("few")
		first, firstCPU = append(first, took), firstCPU+cpu
	}
	slices.Sort(first)
	slices.Sort(last)
	t.Logf("the median of the first %d: %v, of the last: %v", measured, first[measured/2], last[measured/2])
	t.Logf("processor time of the first %d: %v, of the last: %v", measured, firstCPU, lastCPU)
	if lastCPU > 2*firstCPU { // what else the machine does adds little to that
		t.Errorf("the last %d take %v of processor time, the first %v", measured, lastCPU, firstCPU)
	}

	snaps, err := s.Snapshots(ctx, "many")
	ok(t, err)
	for i, sn := range snaps {
		if want := fmt.Sprint("snap", i); sn.Name != want {
			t.Fatalf("snapshot %d is %s", i, sn.Name)
		}
	}
	if len(snaps) != count {
		t.Fatalf("there are %d", len(snaps))
	}
	info, err := s.SnapshotConfig(ctx, "many", "snap299")
	if ok(t, err); info.Config["user.type"] != "squashfs" || !info.CreatedAt.Equal(snaps[299].CreatedAt) {
		t.Errorf("%+v", info)
	}
	ok(t, s.RenameSnapshot(ctx, "many", "snap1", "renamed"), s.DeleteSnapshot(ctx, "many", "snap0"))
	ok(t, s.SetInstanceConfig(ctx, "many", map[string]string{"user.type": "changed"}))
	ok(t, s.RestoreSnapshot(ctx, RestoreOptions{Instance: "many", Snapshot: "snap150"}))
	if v, err := s.InstanceValue(ctx, "many", "user.type", false); err != nil || v != "squashfs" {
		t.Errorf("restored: %q, %v", v, err)
	}
	usage, err := s.PoolUsage(ctx, "p1", UsageOptions{})
	if err != nil || usage.Usage.Used > 60<<20 {
		t.Errorf("the pool has %d bytes: %v", usage.Usage.Used, err)
	}
	if names := snapshotList(t, s, "many"); len(names) != count-1 || names[0] != "renamed" || names[298] != "snap299" {
		t.Errorf("%d are left: %q", len(names), names)
	}
}

// processorTime is what the process has had of it.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var ru unix.Rusage
	ok(t, unix.Getrusage(unix.RUSAGE_SELF, &ru))
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
