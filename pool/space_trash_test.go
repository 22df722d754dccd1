package pool

import (
	"strings"
	"testing"

	"poolctl/btrfs"
	"poolctl/btrfs/extents"
)

// TestBeyondTrash: of each kind of room, what the trash cannot make up for is told from what
// it can, and is a refusal.
func TestBeyondTrash(t *testing.T) {
	const mib = 1 << 20
	fits := SpacePlan{
		What: "it", Pool: "p", Least: 50 * mib, Most: 200 * mib, Metadata: 5 * mib, PoolFree: 500 * mib, MetadataFree: 100 * mib, QuotaFree: -1,
		HostPath: "/srv", HostGrowth: 216 * mib, HostFree: 1000 * mib, TargetFree: -1,
	}
	trash := extents.Size{Data: 7 * mib, Metadata: 3 * mib}
	for name, change := range map[string]func(p *SpacePlan, lacks int64){
		"data":     func(p *SpacePlan, lacks int64) { p.PoolFree = p.Least - lacks },
		"reserved": func(p *SpacePlan, lacks int64) { p.Reserved = p.PoolFree - p.Least + lacks },
		"metadata": func(p *SpacePlan, lacks int64) { p.Metadata = p.MetadataFree + lacks },
		"quota":    func(p *SpacePlan, lacks int64) { p.QuotaFree = p.Least + p.Metadata - lacks },
		"host":     func(p *SpacePlan, lacks int64) { p.HostFree = p.HostGrowth - lacks },
	} {
		for lacks, beyond := range map[int64]bool{0: false, 10 * mib: false, 10*mib + 1: true} {
			p := fits
			change(&p, lacks)
			if p = p.withTrash(trash); p.beyondTrash() != beyond || beyond && p.Err() == nil {
				t.Errorf("%s, with %d too little: beyond the trash is %t, %v", name, lacks, p.beyondTrash(), p.Err())
			}
		}
	}
}

// TestTrashAtMost: what is refused for more than the trash references says so. What it has
// in common with what is not in it is found out for the rest.
func TestTrashAtMost(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	createVolume(t, s, "p", "v", nil)
	fill(t, s.volumeFile("p", "v", "data"), 40<<20)
	ok(t, btrfs.Sync(s.dir.MountPoint("p")), s.CopyVolume(ctx, CopyVolumeOptions{Pool: "p", Volume: "v", ToPool: "p", Name: "w"}), s.TrashVolume(ctx, "p", "w"))
	rec, err := s.loadPool("p")
	ok(t, err)
	usage, err := btrfs.GetUsage(s.dir.MountPoint("p"))
	ok(t, err)
	for lacks, want := range map[int64]string{20 << 20: " in its trash, and it takes", 80 << 20: " and at most 40"} {
		err := s.needSpace(ctx, rec, spaceNeed{what: "it", least: poolFree(usage) + lacks})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "at most") != (lacks > 40<<20) {
			t.Errorf("with %s too little: %v", FormatSize(lacks), err)
		}
	}
	if found, err := s.Trash(ctx, TrashQuery{}); err != nil || len(found) != 1 {
		t.Errorf("what was refused has taken from the trash: %+v, %v", found, err)
	}
}
