package backup

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// lxd is what LXD 5.0 writes of a volume with one snapshot.
const lxd = `name: vol
backend: btrfs
pool: default
snapshots:
- snap0
optimized: true
optimized_header: true
type: custom
config:
  volume:
    config:
      size: 1GiB
    description: d
    name: vol
    type: custom
    used_by: []
    location: none
    content_type: filesystem
    project: default
    created_at: 2022-08-01T10:00:00Z
  volume_snapshots:
  - description: ""
    expires_at: 0001-01-01T00:00:00Z
    name: snap0
    config: {}
    content_type: filesystem
    created_at: 2022-08-01T11:00:00Z
`

func TestIndex(t *testing.T) {
	in, err := ParseIndex([]byte(lxd))
	if err != nil {
		t.Fatal(err)
	}
	if in.Name != "vol" || in.Type != TypeCustom || !in.Optimized || !in.OptimizedHeader || in.Legacy || in.Volume.Config["size"] != "1GiB" ||
		!in.VolumeSnapshots[0].CreatedAt.Equal(time.Date(2022, 8, 1, 11, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", in)
	}
	raw, err := in.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseIndex(raw)
	if diff := cmp.Diff(in, again); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, bad := range []string{"", "name: [", "backend: btrfs", "name: a\ntype: custom\nconfig: 3", "name: a\nconfig: *b", "- name"} {
		if _, err := ParseIndex([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// container is what LXD 5.0 writes of a container, shortened.
const container = `name: c1
backend: btrfs
pool: default
snapshots: [s1]
optimized: false
optimized_header: false
type: container
config:
  container:
    config:
      image.release: "3.8"
      user.yes: "true"
    devices: {}
    name: c1
    created_at: 2022-08-01T10:00:00Z
  snapshots:
  - name: s1
    size: -1
`

func TestContainerIndex(t *testing.T) {
	in, err := ParseIndex([]byte(container))
	if err != nil {
		t.Fatal(err)
	}
	if in.Type != TypeContainer || in.Optimized || in.Volume != nil || !strings.Contains(string(in.Record), "created_at: 2022-08-01T10:00:00Z") {
		t.Errorf("%+v\n%s", in, in.Record)
	}
	in.Record = []byte(`{"container": {"name": "c1", "config": {"user.yes": "true", "n": "3.8", "d": "2022-08-01T10:00:00Z", "l": "a\nb: c"}}, "snapshots": [{"size": -1}]}`)
	raw, err := in.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Config struct {
			Container struct{ Config map[string]any }
			Snapshots []struct{ Size int }
		}
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"user.yes": "true", "n": "3.8", "d": "2022-08-01T10:00:00Z", "l": "a\nb: c"} // all of them texts
	if diff := cmp.Diff(want, file.Config.Container.Config); diff != "" || file.Config.Snapshots[0].Size != -1 {
		t.Errorf("%s\n%s", diff, raw)
	}
	if old, err := ParseIndex([]byte("name: c1\nbackend: btrfs\npool: default\nsnapshots: []\n")); err != nil || old.Type != TypeContainer || !old.Legacy || old.Record != nil {
		t.Errorf("one of LXD 3: %+v, %v", old, err)
	}
	in.Record = []byte("{")
	if _, err := in.Encode(); err == nil {
		t.Error("a damaged record was written")
	}
}

func TestRead(t *testing.T) {
	if raw, err := Read(strings.NewReader(lxd)); err != nil || string(raw) != lxd {
		t.Errorf("%q, %v", raw, err)
	}
	if _, err := Read(strings.NewReader("a: " + strings.Repeat("b", MaxFile))); err == nil {
		t.Error("an index of any size is read")
	}
}

func TestLayout(t *testing.T) {
	custom, _ := Index{Type: TypeCustom}.Layout()
	instance, _ := Index{Type: TypeContainer}.Layout()
	if _, known := (Index{Type: TypeMachine}).Layout(); known {
		t.Error("virtual machines are known")
	}
	for want, sub := range map[string]Subvolume{
		"backup/volume.bin":                   {Path: "/"},
		"backup/volume_a b-c--d.bin":          {Path: "/a b/c-d"},
		"backup/volume-snapshots/snap0.bin":   {Path: "/", Snapshot: "snap0"},
		"backup/volume-snapshots/s-1_x-y.bin": {Path: "/x/y", Snapshot: "s-1"},
	} {
		if got := custom.File(sub); got != want {
			t.Errorf("%+v: %q, want %q", sub, got, want)
		}
	}
	// As LXD 5.0.2 names them.
	for want, sub := range map[string]Subvolume{
		"backup/container.bin":                      {Path: "/"},
		"backup/snapshots/s2.bin":                   {Path: "/", Snapshot: "s2"},
		"backup/snapshots/s2_rootfs-srv-sub--a.bin": {Path: "/rootfs/srv/sub-a", Snapshot: "s2"},
	} {
		if got := instance.File(sub); got != want {
			t.Errorf("%+v: %q, want %q", sub, got, want)
		}
	}
	for name, want := range map[string][2]string{
		"backup/volume": {"", "."}, "backup/volume/a/b": {"", "a/b"}, "backup/volume-snapshots/s": {"s", "."}, "backup/volume-snapshots/s/x": {"s", "x"},
	} {
		if snap, rel, ok := custom.Split(name); !ok || snap != want[0] || rel != want[1] {
			t.Errorf("%s: %q, %q, %v", name, snap, rel, ok)
		}
	}
	if snap, rel, ok := instance.Split("backup/snapshots/s/rootfs"); !ok || snap != "s" || rel != "rootfs" {
		t.Errorf("%q, %q, %v", snap, rel, ok)
	}
	for _, name := range []string{"", "backup", "backup/volumes", "backup/volume-snapshots", "backup/container/x", "volume/x"} {
		if snap, rel, ok := custom.Split(name); ok {
			t.Errorf("%s: %q, %q", name, snap, rel)
		}
	}
	for _, name := range []string{"backup/containers", "backup/snapshots", "backup/volume/x"} {
		if snap, rel, ok := instance.Split(name); ok {
			t.Errorf("%s: %q, %q", name, snap, rel)
		}
	}
}

func TestHeader(t *testing.T) {
	h := Header{Subvolumes: []Subvolume{{Path: "/", UUID: "u"}, {Path: "/a b", Snapshot: "s", ReadOnly: true}}}
	raw, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseHeader(raw)
	if diff := cmp.Diff(h, again); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if !strings.Contains(string(raw), "readonly: true") {
		t.Errorf("%s", raw)
	}
	if _, err := ParseHeader([]byte("{}")); err == nil {
		t.Error("an empty header was read")
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(lxd))
	f.Add([]byte(container))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if h, err := ParseHeader(raw); err == nil && len(h.Subvolumes) == 0 {
			t.Error("an empty header was read")
		}
		in, err := ParseIndex(raw)
		if err != nil {
			return
		}
		if in.Name == "" || in.Type == "" {
			t.Errorf("%+v", in)
		}
		written, err := in.Encode()
		if err != nil {
			return
		}
		if again, err := ParseIndex(written); err != nil || again.Name != in.Name || again.Type != in.Type {
			t.Errorf("%+v, written and read: %+v, %v", in, again, err)
		}
	})
}
