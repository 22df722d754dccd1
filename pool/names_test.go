package pool

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"poolctl/btrfs"
)

// oddNames are what people, scripts and attackers name things.
var oddNames = []string{
	"with space", " lead", "trail ", "a/b", "/", "../up", "..", ".", ".hidden", "a.b", "a..b", "-rf", "--all", "new\nline", "tab\t", "nul\x00", "\x1b[31m",
	"ünïcødé", "名前", "\u202eevil", "bytes\xff", "snap@1", "a:b", "*", "$(id)", "%s", "'", `"`, `\`, "con trol\x7f", "UPPER", "0", "1st", "end-",
	strings.Repeat("n", 63), strings.Repeat("n", 64), strings.Repeat("n", 255), strings.Repeat("n", 256), strings.Repeat("n", 5000), strings.Repeat("é", 63),
}

// neverNames are refused for whatever is made: they are no file names, or those of
// other files.
var neverNames = []string{"a/b", "/", "../up", "..", ".", "nul\x00", strings.Repeat("n", 256), strings.Repeat("n", 5000)}

// Whatever a pool, an instance or a snapshot is to be called, it is refused with
// the name and nothing is changed, or there is one of just that name, which can be
// deleted by it.
func TestOddNames(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	withPrecious(t, s)
	checkOddNames(t, s, map[string]namedKind{
		"instance": {
			func(name string) error {
				_, err := s.Copy(ctx, CopyOptions{Source: "c1", Name: name, InstanceOnly: true})
				return err
			},
			func() (out []string) {
				all, err := s.Instances(ctx)
				for _, in := range all {
					out = append(out, in.Name)
				}
				return must(t, out, err)
			},
			func(name string) error { return s.Delete(ctx, name, false) }, "UPPER",
		},
		"snapshot": {
			func(name string) error {
				_, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: name})
				return err
			},
			func() (out []string) {
				all, err := s.Snapshots(ctx, "c1")
				for _, sn := range all {
					out = append(out, sn.Name)
				}
				return must(t, out, err)
			},
			func(name string) error { return s.DeleteSnapshot(ctx, "c1", name) }, "a.b",
		},
		"pool": {
			func(name string) error {
				return s.CreatePool(ctx, CreatePoolOptions{Name: name, Config: map[string]string{"size": "120MiB"}})
			},
			func() (out []string) {
				all, err := s.Pools(ctx)
				for _, p := range all {
					out = append(out, p.Name)
				}
				return must(t, out, err)
			},
			func(name string) error { return s.DeletePool(ctx, name, false) }, "a.b",
		},
	})
	for _, ref := range oddNames {
		if _, err := s.Instance(ctx, ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("instance %q: %v", ref, err)
		}
		if _, err := s.Pool(ctx, ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("pool %q: %v", ref, err)
		}
		if _, err := s.MountInstance(ctx, "c1/"+ref, "", MountOptions{}); err == nil {
			t.Errorf("snapshot %q was mounted", ref)
		}
	}
	isPrecious(t, s)
}

// namedKind is something that is made under a name that the user chooses.
type namedKind struct {
	create func(name string) error
	list   func() []string
	remove func(name string) error
	works  string // one that is to work, lest all are refused
}

// checkOddNames tries all odd names with each kind; the pool "p" is there.
func checkOddNames(t *testing.T, s *System, kinds map[string]namedKind) {
	t.Helper()
	subvolumes := func() int {
		all, err := btrfs.List(s.dir.MountPoint("p"))
		return len(must(t, all, err))
	}
	files := func() []string {
		var out []string
		for _, dir := range []string{s.dir.Root, s.dir.Disks(), s.dir.Pools(), filepath.Dir(s.dir.MountPoint("p")), filepath.Dir(s.dir.Root), s.dir.Networks(), filepath.Join(s.dir.Root, "profiles")} {
			entries, err := os.ReadDir(dir)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			for _, e := range must(t, entries, err) {
				if dir != s.dir.Root || !slices.Contains([]string{"journal", "profiles", "networks", "remotes.json"}, e.Name()) { // made with the first of them
					out = append(out, filepath.Join(dir, e.Name()))
				}
			}
		}
		return out
	}
	for kind, k := range kinds {
		worked := false
		for _, name := range oddNames {
			before, volumes, there := k.list(), subvolumes(), files()
			err := k.create(name)
			after := k.list()
			if err != nil {
				if !slices.Equal(before, after) {
					t.Errorf("%s %q: %v, but there is now %q", kind, name, err, after)
				}
				if len(err.Error()) > 12_000 {
					t.Errorf("%s %q: an error of %d bytes", kind, name, len(err.Error()))
				}
			} else {
				worked = worked || name == k.works
				if slices.Contains(neverNames, name) && (kind != "image alias" || name == "nul\x00") {
					t.Errorf("%s %q was made", kind, name)
				}
				if !slices.Contains(after, name) || len(after) != len(before)+1 {
					t.Errorf("%s %q: there is now %q", kind, name, after)
				}
				if err := k.remove(name); err != nil {
					t.Errorf("%s %q cannot be deleted: %v", kind, name, err)
				}
			}
			if got := subvolumes(); got != volumes {
				t.Errorf("%s %q: %d subvolumes, and before there were %d", kind, name, got, volumes)
			}
			if got := files(); !slices.Equal(got, there) {
				t.Errorf("%s %q: files %q, and before there were %q", kind, name, got, there)
			}
		}
		if !worked {
			t.Errorf("%s %q should be allowed", kind, k.works)
		}
		for _, name := range append(oddNames, "") {
			if err := k.remove(name); err == nil {
				t.Errorf("%s %q was deleted, and is not there", kind, name)
			} else if strings.Contains(err.Error(), "panic") {
				t.Errorf("%s %q: %v", kind, name, err)
			}
		}
	}
}

func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}
