package pool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/pool/tree"
	"poolctl/runtime"
)

// An adopted instance is not the host's root because it says so: what would make
// it that is set aside, in its profiles and snapshots too.
func TestAdoptHidesWhatOpensTheHost(t *testing.T) {
	ctx := t.Context()
	from := newSystem(t)
	file := filledPool(t, from)
	p, err := tree.Open(from.dir.MountPoint("p"))
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string]string{privilegedKey: "true", rawIDMapKey: "both 1 1", idmapBaseKey: "none", syscallsDefaultKey: "false", isolatedKey: "true", "user.x": "y"}
	_, err = p.UpdateInstance("c1", func(i *tree.Instance) error {
		i.Profiles = []string{"default", "web"}
		for k, v := range bad {
			i.Config[k], i.ExpandedConfig[k] = v, v
		}
		i.ExpandedConfig[syscallsAllowKey] = "mount"
		i.ProfileInfo = []tree.ProfileInfo{{Name: "web", Config: map[string]string{syscallsAllowKey: "mount", privilegedKey: "1"}}}
		return nil
	})
	err = errors.Join(err, p.CreateSnapshot(ctx, "c1", "bad", tree.SnapshotOptions{}), p.Close(), from.DetachPool(ctx, "p"))
	away := filepath.Join(t.TempDir(), "away.img")
	if err = errors.Join(err, os.Rename(file, away), from.DeletePool(ctx, "p", true)); err != nil {
		t.Fatal(err)
	}
	var lines []string
	s, err := Open(ctx, Options{Root: newSystem(t).dir.Root, Notice: func(l string) { lines = append(lines, l) }})
	if err != nil {
		t.Fatal(err)
	}
	adopt(t, s, away, "")
	check := func(when string) {
		t.Helper()
		in, err := s.Instance(ctx, "c1")
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range in.ExpandedConfig {
			if opensHost(k, v) {
				t.Errorf("%s: %s=%s", when, k, v)
			}
		}
		if in.Config["user.was.security.privileged"] != "true" || in.Config["user.x"] != "y" || in.Config[isolatedKey] != "true" {
			t.Errorf("%s: %v", when, in.Config)
		}
	}
	check("adopted")
	if w, err := s.profile("web"); err != nil || opensHost(privilegedKey, w.Config[privilegedKey]) || w.Config[syscallsAllowKey] != "" {
		t.Errorf("profile web: %+v, %v", w, err)
	}
	for _, want := range []string{
		"c1: security.privileged is set aside, because it gives away what keeps the instance from this host; to set it again: poolctl config set c1 security.privileged=true",
		"profile web: security.privileged is set aside",
	} {
		if !strings.Contains(strings.Join(lines, "\n"), want) {
			t.Errorf("no notice %q in %q", want, lines)
		}
	}
	if err := s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "bad"}); err != nil {
		t.Fatal(err)
	}
	check("restored")
}

// A range of ids that was never checked, as of a record written elsewhere, is not
// the host's root's.
func TestIsolatedRangeIsChecked(t *testing.T) {
	s := newSystem(t)
	host := runtime.IDMap{HostID: 1000000, Size: 1000000000}
	for _, config := range []map[string]string{{idmapBaseKey: "0"}, {idmapBaseKey: "none"}, {idmapBaseKey: "-1"}, {idmapSizeKey: "0"}, {idmapSizeKey: "all"}} {
		got, err := s.isolatedRange(t.Context(), tree.Instance{ExpandedConfig: config}, host, host)
		if err == nil || !strings.Contains(err.Error(), "want ") {
			t.Errorf("%v: %+v, %v", config, got, err)
		}
	}
}
