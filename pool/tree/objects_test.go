package tree

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolctl/btrfs"
)

func TestObjectsOfSubvolumes(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	sub := func(id, parent uint64, created int64, path string) btrfs.Subvolume {
		return btrfs.Subvolume{ID: id, ParentID: parent, Path: path, CreatedAt: at(created)}
	}
	got := objects(5, []btrfs.Subvolume{
		sub(300, 5, 9, ".poolctl/staging/x/volume"),
		sub(301, 5, 1, "containers/c1"),
		sub(302, 301, 2, "containers/c1/rootfs/var/lib/docker/btrfs/subvolumes/a b"),
		sub(303, 302, 2, "containers/c1/rootfs/var/lib/docker/btrfs/subvolumes/a b/in"),
		sub(304, 5, 5, "containers/c1-2"), // sorts before the nested ones by bytes
		sub(305, 5, 4, "containers-snapshots/c1/aaa"),
		sub(306, 5, 3, "containers-snapshots/c1/zzz"),
		sub(307, 306, 3, "containers-snapshots/c1/zzz/nested"),
		sub(308, 5, 3, "custom/default_data"),
		sub(309, 5, 3, "custom/other_data"),
		sub(310, 5, 3, "custom-snapshots/default_data/s"),
		sub(311, 5, 3, "images/ff"),
		sub(318, 5, 3, ".poolctl/originals/ff"),
		sub(319, 5, 3, ".poolctl/originals/gone"),
		sub(312, 5, 3, "virtual-machines/vm"),
		sub(313, 5, 3, "virtual-machines-snapshots/vm/s"),
		sub(314, 5, 3, "mine"),
		sub(315, 314, 3, "mine/containers/no"),
		sub(316, 5, 3, "containers/deep/er"),
		sub(317, 303, 3, ""), // too deep for a path
	})
	want := []Object{
		{TypeImage, "ff", []uint64{311, 318}, at(3)},
		{TypeInstance, "c1", []uint64{301, 302, 303, 317}, at(1)},
		{TypeInstanceSnapshot, "c1/zzz", []uint64{306, 307}, at(3)},
		{TypeInstanceSnapshot, "c1/aaa", []uint64{305}, at(4)},
		{TypeInstance, "c1-2", []uint64{304}, at(5)},
		{TypeMachine, "vm", []uint64{312}, at(3)},
		{TypeMachineSnapshot, "vm/s", []uint64{313}, at(3)},
		{TypeVolume, "data", []uint64{308}, at(3)},
		{TypeVolumeSnapshot, "data/s", []uint64{310}, at(3)},
		{TypeVolume, "other_data", []uint64{309}, at(3)},
		{TypeSubvolume, ".poolctl/originals/gone", []uint64{319}, at(3)},
		{TypeSubvolume, ".poolctl/staging/x/volume", []uint64{300}, at(9)},
		{TypeSubvolume, "containers/deep/er", []uint64{316}, at(3)},
		{TypeSubvolume, "mine", []uint64{314, 315}, at(3)},
		{TypeRecords, "", []uint64{5}, time.Time{}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestObjects(t *testing.T) {
	p := newPool(t)
	must(t, importImage(p.Tree, fingerprint), p.CreateInstance(t.Context(), newInstance("c1"), fingerprint))
	must(t, nest(p.InstancePath("c1")))
	must(t, p.CreateSnapshot(t.Context(), "c1", "s", SnapshotOptions{}))
	nested, err := btrfs.List(p.InstancePath("c1"))
	must(t, err)
	all, err := p.Objects()
	must(t, err)
	var got []string
	for _, ob := range all {
		got = append(got, string(ob.Type)+" "+ob.Name)
	}
	want := []string{"image " + fingerprint, "container c1", "container (snapshot) c1/s", "pool "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	own, err := btrfs.Stat(filepath.Join(p.mnt, "containers", "c1"))
	must(t, err)
	for _, i := range []int{1, 2} {
		if len(nested) == 0 || len(all[i].Subvolumes) != 1+len(nested) {
			t.Errorf("%s has the subvolumes %v; nested are %+v", all[i].Name, all[i].Subvolumes, nested)
		}
	}
	if all[1].Subvolumes[0] != own.ID {
		t.Errorf("%v, want %d first", all[1].Subvolumes, own.ID)
	}
}
