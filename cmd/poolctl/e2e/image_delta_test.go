package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poolctl/fixtures"
)

// The serials of the versions of the image "changing": the second has another file or two than the first, the third is all new.
var serials = []string{"20250101_01:00", "20250102_01:00", "20250103_01:00"}

// addChanging adds those versions of the image to the mirror in dir, and the deltas between all that are there.
func addChanging(t *testing.T, dir string, versions ...int) {
	t.Helper()
	ctx := context.Background()
	for _, version := range versions {
		var tree fixtures.Tree
		tree.Dir(0o755, ".", "etc", "sbin", "usr")
		for i := range 20 {
			seed := uint64(i)
			if version == 2 || i == 7 {
				seed += 100 * uint64(version+1)
			}
			r := rand.New(rand.NewPCG(seed, 3))
			var b strings.Builder
			for b.Len() < 100<<10 {
				b.WriteByte(byte(r.Uint32()))
			}
			tree.File(fmt.Sprintf("usr/file%d", i), 0o644, b.String())
		}
		tree.File("etc/version", 0o644, serials[version])
		image, err := fixtures.BuildFromTree(ctx, dir, &tree, fixtures.Properties{OS: "Changing", Release: "1", Serial: serials[version]})
		must(t, err)
		must(t, fixtures.BuildMirror(ctx, dir, image))
	}
	must(t, fixtures.AddDeltas(ctx, dir))
}

// imageBytes is how much the server has sent of images since it was asked last.
func imageBytes(s *fixtures.Server) int64 {
	var sent int64
	for _, q := range s.Requests() {
		if strings.Contains(q.Path, "/images/") {
			sent += q.Bytes
		}
	}
	return sent
}

// TestImageRefreshDelta: a refresh downloads the delta, and what it makes costs only what changed.
func TestImageRefreshDelta(t *testing.T) {
	dir := t.TempDir()
	addChanging(t, dir, 0)
	s := serve(t, func() (string, error) { return dir, nil }, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(s)
	h.ok("pool", "set", "default", "images.originals=always")
	h.ok("image", "pull", "m:changing/1", "--alias", "it")
	h.ok("init", "it", "c1")
	mnt := h.attached()
	old := treeSum(t, filepath.Join(mnt, "containers/c1/rootfs"))
	addChanging(t, dir, 1)
	imageBytes(s)
	h.ok("image", "refresh", "it")
	if sent := imageBytes(s); sent > 200<<10 {
		t.Errorf("%d bytes were sent", sent)
	}
	newer := h.serial("", serials[1])
	for _, o := range h.usage("--exact").Objects {
		if o.Type == "image" && (o.Name != newer || o.Exact.Exclusive.Data > o.Exact.Referenced.Data*6/10) {
			// Half of it is the squashfs that is kept, and one file of 20 is another.
			t.Errorf("image %s has %d of %d bytes of its own", o.Name, o.Exact.Exclusive.Data, o.Exact.Referenced.Data)
		}
	}
	h.settle()
	if got := treeSum(t, filepath.Join(mnt, "containers/c1/rootfs")); got != old {
		t.Error("the instance of the old version changed")
	}
	if raw, err := os.ReadFile(filepath.Join(mnt, "images", newer, "rootfs/etc/version")); err != nil || string(raw) != serials[1] {
		t.Errorf("the new version: %q, %v", raw, err)
	}
}

// TestImageDelta counts what the server has to send of a version when another one is in the pool.
func TestImageDelta(t *testing.T) {
	dir := t.TempDir()
	addChanging(t, dir, 0, 1, 2)
	deltas, err := filepath.Glob(filepath.Join(dir, "images/*/*/*/*", serials[1], "*.vcdiff"))
	if err != nil || len(deltas) != 1 {
		t.Fatal(deltas, err)
	}
	good, err := os.ReadFile(deltas[0])
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, func() (string, error) { return dir, nil }, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(s)
	h.ok("pool", "create", "plain", "size=300MiB", "images.originals=never")
	var prints []string
	for _, serial := range serials {
		prints = append(prints, h.serial("m:", serial))
	}
	// What the versions are when they are downloaded whole.
	whole := map[string]string{}
	plain := strings.TrimSpace(h.ok("pool", "mount", "plain"))
	for _, fp := range prints {
		h.ok("image", "pull", "m:"+fp, "--storage", "plain")
		whole[fp] = treeSum(t, filepath.Join(plain, "images", fp, "rootfs"))
	}
	if left, err := os.ReadDir(filepath.Join(plain, ".poolctl/originals")); err != nil || len(left) != 0 {
		t.Errorf("files are kept although they are not to be: %v, %v", left, err)
	}
	mnt := h.attached()
	kept := func(fp string) bool {
		_, err := os.Stat(filepath.Join(mnt, ".poolctl/originals", fp, "rootfs"))
		return err == nil
	}
	for _, c := range []struct {
		name     string
		from, to int
		delta    bool // is to be used
		notice   bool
		change   func()
	}{
		{name: "small", from: 0, to: 1, delta: true},
		{name: "of another base", from: 0, to: 2},
		{name: "no base kept", from: 0, to: 1, change: func() { h.ok("pool", "set", "default", "images.originals=never") }},
		{name: "kept by choice", from: 0, to: 1, delta: true, change: func() { h.ok("pool", "set", "default", "images.originals=always") }},
		{name: "damaged on the way", from: 0, to: 1, notice: true, change: func() { s.Fault(".vcdiff", fixtures.Corrupt(100)) }},
		{name: "not there", from: 0, to: 1, notice: true, change: func() { s.Fault(".vcdiff", fixtures.NotFound()) }},
		{name: "base damaged", from: 0, to: 1, notice: true, change: func() {}},
		{name: "no xdelta3", from: 0, to: 1, change: func() {}},
		{name: "wrong", from: 0, to: 1, notice: true, change: func() {
			must(t, fixtures.ReplaceDelta(dir, serials[1], append(good[:len(good)-5:len(good)-5], "wrong"...)))
		}},
		{name: "none at all", from: 0, to: 1, notice: true, change: func() {
			must(t, fixtures.ReplaceDelta(dir, serials[1], []byte("<html>")))
		}},
		{name: "larger than the file", from: 0, to: 1, change: func() {
			must(t, fixtures.ReplaceDelta(dir, serials[1], append(good[:len(good):len(good)], make([]byte, 3<<20)...)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.in(t)
			if c.change != nil {
				c.change()
				defer h.ok("pool", "unset", "default", "images.originals")
				defer s.ClearFaults()
				if err := os.RemoveAll(filepath.Join(h.state, "cache/m")); err != nil {
					t.Fatal(err)
				}
			}
			from, to := prints[c.from], prints[c.to]
			h.ok("image", "pull", "m:"+from)
			if c.name == "base damaged" {
				must(t, os.WriteFile(filepath.Join(mnt, ".poolctl/originals", from, "rootfs"), []byte("not a squashfs"), 0o600))
			}
			imageBytes(s)
			env := h.env
			if c.name == "no xdelta3" {
				h.env = append(h.env[:len(h.env):len(h.env)], "PATH=/nonexistent")
			}
			r := h.run("image", "pull", "m:"+to)
			h.env = env
			if r.code != 0 {
				t.Fatal(r)
			}
			sent := imageBytes(s)
			if used := sent < 200<<10; used != c.delta {
				t.Errorf("the delta was used: %v; %d bytes were sent\n%s", used, sent, r)
			}
			if noticed := strings.Contains(r.stderr, "is of no use"); noticed != c.notice {
				t.Errorf("told of the delta: %v\n%s", noticed, r)
			}
			if got := treeSum(t, filepath.Join(mnt, "images", to, "rootfs")); got != whole[to] {
				t.Error("the image is not the one that comes when it is downloaded whole")
			}
			if want := c.name != "no base kept" && c.name != "no xdelta3"; kept(to) != want {
				t.Errorf("the root file is kept: %v", !want)
			}
			h.ok("image", "delete", from)
			h.ok("image", "delete", to)
			if kept(from) || kept(to) {
				t.Error("the root files of deleted images are there")
			}
		})
	}
	small, large := int64(len(good)), int64(0)
	if st, err := os.Stat(filepath.Join(filepath.Dir(deltas[0]), "rootfs.squashfs")); err == nil {
		large = st.Size()
	}
	t.Logf("a delta of %d bytes in place of %d", small, large)
	if small*4 > large {
		t.Errorf("the delta has %d bytes, the file %d: nothing is proven", small, large)
	}
}

// TestMachineDelta: the disk of a new version is made of the old one's file and a delta too.
func TestMachineDelta(t *testing.T) {
	dir := t.TempDir()
	for i, serial := range serials[:2] {
		var tree fixtures.Tree
		tree.Dir(0o755, ".", "etc", "usr")
		r := rand.New(rand.NewPCG(1, 4))
		var b strings.Builder
		for b.Len() < 3<<20 {
			b.WriteByte(byte(r.Uint32()))
		}
		tree.File("usr/file", 0o644, b.String())
		tree.File("etc/version", 0o644, serial)
		image, err := fixtures.BuildFromTree(t.Context(), dir, &tree, fixtures.Properties{OS: "Disk", Release: "1", Serial: serial, Roots: []string{fixtures.DiskKVM}})
		must(t, err)
		must(t, fixtures.BuildMirror(t.Context(), dir, image))
		if i == 1 {
			must(t, fixtures.AddDeltas(t.Context(), dir))
		}
	}
	s := serve(t, func() (string, error) { return dir, nil }, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(s)
	h.ok("image", "pull", "m:"+h.serial("m:", serials[0]))
	whole := imageBytes(s)
	h.ok("image", "pull", "m:disk/1", "--alias", "d")
	if sent := imageBytes(s); sent > whole/2 {
		t.Errorf("%d bytes were sent, and %d of the first version", sent, whole)
	}
	mnt := strings.TrimSpace(h.ok("mount", "d"))
	if got, err := os.ReadFile(filepath.Join(mnt, "etc/version")); string(got) != serials[1] {
		t.Errorf("version %q, %v", got, err)
	}
	h.ok("umount", "d")
}

// TestImageDeltaResumes: a delta that was on its way when the command was killed is gone on with by the next.
func TestImageDeltaResumes(t *testing.T) {
	const stalled = 50_000
	dir := t.TempDir()
	addChanging(t, dir, 0, 1)
	s := serve(t, func() (string, error) { return dir, nil }, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(s)
	h.ok("image", "pull", "m:"+h.serial("m:", serials[0]))
	s.Fault(".vcdiff", fixtures.Stall(stalled))
	cmd := h.command(t.Context(), "image", "pull", "m:changing/1")
	must(t, cmd.Start())
	for deadline := time.Now().Add(30 * time.Second); h.kept() < stalled && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	s.ClearFaults()
	s.Requests()
	h.ok("image", "pull", "m:changing/1")
	ranges := []string{}
	for _, r := range s.Requests() {
		if strings.HasSuffix(r.Path, ".squashfs") {
			t.Errorf("%s was asked for", r.Path)
		} else if strings.HasSuffix(r.Path, ".vcdiff") {
			ranges = append(ranges, r.Header.Get("Range"))
		}
	}
	if len(ranges) != 1 || ranges[0] != fmt.Sprintf("bytes=%d-", stalled) {
		t.Errorf("the delta was asked for by the ranges %q", ranges)
	}
	if left := h.kept(); left > 0 {
		t.Errorf("%d bytes are kept of a download that has ended", left)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
