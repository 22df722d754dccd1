package backup

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
	if in.Name != "vol" || in.Type != TypeCustom || !in.Optimized || !in.OptimizedHeader || in.Config.Volume.Config["size"] != "1GiB" ||
		!in.Config.VolumeSnapshots[0].CreatedAt.Equal(time.Date(2022, 8, 1, 11, 0, 0, 0, time.UTC)) {
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
	for _, bad := range []string{"", "name: [", "backend: btrfs"} {
		if _, err := ParseIndex([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestNames(t *testing.T) {
	for sub, want := range map[Subvolume]string{
		{Path: "/"}:                     "backup/volume.bin",
		{Path: "/a b/c-d"}:              "backup/volume_a b-c--d.bin",
		{Path: "/", Snapshot: "snap0"}:  "backup/volume-snapshots/snap0.bin",
		{Path: "/x/y", Snapshot: "s-1"}: "backup/volume-snapshots/s-1_x-y.bin",
	} {
		if got := sub.File(); got != want {
			t.Errorf("%+v: %q, want %q", sub, got, want)
		}
	}
	for name, want := range map[string][2]string{
		"backup/volume": {"", "."}, "backup/volume/a/b": {"", "a/b"}, "backup/volume-snapshots/s": {"s", "."}, "backup/volume-snapshots/s/x": {"s", "x"},
	} {
		if snap, rel, ok := Split(name); !ok || snap != want[0] || rel != want[1] {
			t.Errorf("%s: %q, %q, %v", name, snap, rel, ok)
		}
	}
	for _, name := range []string{"", "backup", "backup/volumes", "backup/volume-snapshots", "backup/container/x", "volume/x"} {
		if snap, rel, ok := Split(name); ok {
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
	f.Fuzz(func(t *testing.T, raw []byte) {
		in, err := ParseIndex(raw)
		if err != nil {
			return
		}
		if in.Name == "" || in.Config == nil {
			t.Errorf("%+v", in)
		}
		if _, err := ParseHeader(raw); err == nil {
			return
		}
	})
}
