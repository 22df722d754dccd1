package pool

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"poolctl/pool/tree"
)

// An adopted instance does not get at files of this host because it says so: its
// disks of the host's, and those of its profiles and snapshots, are hidden, each
// with a notice of how to have it again.
func TestAdoptHidesHostDisks(t *testing.T) {
	ctx := t.Context()
	from := newSystem(t)
	file := filledPool(t, from)
	p, err := tree.Open(from.dir.MountPoint("p"))
	if err != nil {
		t.Fatal(err)
	}
	etc := map[string]string{"type": "disk", "source": "/etc", "path": "/hostetc", "shift": "true"}
	srv := map[string]string{"type": "disk", "source": "/srv", "path": "/srv/a b"}
	sda := map[string]string{"type": "unix-block", "path": "/dev/sda"}
	gpu := map[string]string{"type": "gpu", "id": "0"}
	_, err = p.UpdateInstance("c1", func(i *tree.Instance) error {
		i.Profiles = []string{"default", "web"}
		i.Devices = devices{"etc": etc, "sda": sda, "gpu": gpu}
		i.ExpandedDevices = devices{"root": rootIn("p"), "etc": etc, "sda": sda, "srv": srv, "gpu": gpu}
		i.ProfileInfo = []tree.ProfileInfo{{Name: "web", Devices: devices{"srv": srv}}}
		return nil
	})
	err = errors.Join(err, p.CreateSnapshot(ctx, "c1", "host", tree.SnapshotOptions{}), p.Close(), from.DetachPool(ctx, "p"))
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
	hidden := func(when string) {
		t.Helper()
		in, err := s.Instance(ctx, "c1")
		if err != nil || len(disksOf(in.ExpandedDevices)) != 0 || len(in.ExpandedDevices) != 5 || in.ExpandedDevices["gpu"]["type"] != "none" {
			t.Errorf("%s: %+v, %v", when, in.ExpandedDevices, err)
		}
	}
	hidden("adopted")
	if w, err := s.profile("web"); err != nil || len(disksOf(w.Devices)) != 0 {
		t.Errorf("profile web: %+v, %v", w, err)
	}
	for _, want := range []string{
		"c1: device etc is hidden, because it is /etc of the host, on /hostetc inside; to add it again: poolctl config device remove c1 etc && poolctl config device add c1 etc disk path=/hostetc shift=true source=/etc",
		"c1: device srv is hidden, because it is /srv of the host, on '/srv/a b' inside; to add it again: poolctl config device remove c1 srv && poolctl config device add c1 srv disk 'path=/srv/a b' source=/srv",
		"c1: device sda is hidden, because it is /dev/sda of the host, on /dev/sda inside; to add it again: poolctl config device remove c1 sda && poolctl config device add c1 sda unix-block path=/dev/sda",
		"c1: device gpu is hidden, because there are no devices of type gpu here",
		"profile web: device srv is hidden, because it is /srv of the host",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no notice %q in %q", want, lines)
		}
	}
	if n := strings.Count(strings.Join(lines, "\n"), "is hidden"); n != 5 {
		t.Errorf("%d notices of what is hidden: %q", n, lines)
	}
	// What the notice says works.
	if err := s.RemoveInstanceDevice(ctx, "c1", "etc"); err != nil {
		t.Error(err)
	}
	if err := s.AddInstanceDevice(ctx, "c1", "etc", etc); err != nil {
		t.Error(err)
	}
	if in, err := s.Instance(ctx, "c1"); err != nil || in.ExpandedDevices["etc"]["source"] != "/etc" {
		t.Errorf("added again: %+v, %v", in.ExpandedDevices, err)
	}
	if err := s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "host"}); err != nil {
		t.Fatal(err)
	}
	hidden("restored")
}

// TestShellWord: a shell reads back what was quoted, and nothing in it controls a terminal.
func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{
		"/srv/a-b_c": "/srv/a-b_c", "": "''", "a b": "'a b'", "it's $x": `'it'\''s $x'`, "é": "'é'", "a\x1b[2J\n'\"\\": `$'a\x1b[2J\n\'"\\'`,
	} {
		got := shellWord(word)
		if got != want {
			t.Errorf("shellWord(%q) = %s, want %s", word, got, want)
		}
		if out, err := exec.CommandContext(t.Context(), "bash", "-c", "printf %s "+got).Output(); err != nil || string(out) != word {
			t.Errorf("a shell reads %s as %q, %v", got, out, err)
		}
	}
}
