package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"poolctl/fixtures"
)

// maxMemory is what the program and its children may take at any moment, whatever an image or a catalogue holds, in KiB.
const maxMemory = 256 << 10

// hostileImage is an image made to do harm: its files as they are served, and what is to be said of it.
type hostileImage struct {
	name string
	// metadata and root are the files of a split image; unified that of a unified one.
	metadata, root, unified []byte
	ftype                   string // of the root; "" = squashfs, whatever it is
	want                    string // in the error; "" = it is pulled, "?" = either
}

// entry is a tar archive's.
type entry struct {
	hdr  tar.Header
	body string
}

func file(name, body string) entry {
	return entry{tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(body))}, body}
}

func link(kind byte, name, target string) entry {
	return entry{hdr: tar.Header{Name: name, Linkname: target, Mode: 0o777, Typeflag: kind}}
}

// archive makes a tar archive; its end mark is left out when more is to follow.
func archive(t *testing.T, end bool, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil && e.body != "" {
			t.Fatal(err)
		}
	}
	if end {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// through gives data to a program's standard input and returns its output.
func through(t *testing.T, data []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return out
}

const goodMetadata = "architecture: x86_64\ncreation_date: 1700000000\n"

// serveHostile serves a mirror of the images, whose names are their aliases.
func serveHostile(t *testing.T, h *host, images []hostileImage) *fixtures.Server {
	t.Helper()
	dir := filepath.Join(h.dir, "hostile")
	items := filepath.Join(h.dir, "items")
	if err := os.MkdirAll(items, 0o755); err != nil {
		t.Fatal(err)
	}
	good := archive(t, true, file("metadata.yaml", goodMetadata))
	var built []fixtures.Image
	for i, im := range images {
		img := fixtures.Image{Properties: fixtures.Properties{OS: "Hostile", Release: strconv.Itoa(i), Variant: "default", Arch: "amd64", Serial: "20250101_08:32", Aliases: []string{im.name}}}
		put := func(ftype string, b []byte) {
			path := filepath.Join(items, fmt.Sprintf("%d-%s", i, ftype))
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(b)
			img.Files = append(img.Files, fixtures.File{FType: ftype, Path: path, Size: int64(len(b)), SHA256: hex.EncodeToString(sum[:])})
		}
		if im.unified != nil {
			put(fixtures.Unified, im.unified)
		} else {
			if im.metadata == nil {
				im.metadata = good
			}
			if im.ftype == "" {
				im.ftype = fixtures.Squashfs
			}
			put(fixtures.LXDMetadata, im.metadata)
			put(im.ftype, im.root)
		}
		built = append(built, img)
	}
	if err := fixtures.BuildMirror(context.Background(), dir, built...); err != nil {
		t.Fatal(err)
	}
	return serve(t, func() (string, error) { return dir, nil }, fixtures.ServeOptions{})
}

// measured runs a command and returns also the most memory in KiB that it and its children had at one moment: the sum of
// the peaks of those that were alive at the same time.
func (h *host) measured(args ...string) (result, int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := h.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	var watch sync.WaitGroup
	done := make(chan struct{})
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	most := 0
	watch.Add(1)
	go func() {
		defer watch.Done()
		for {
			most = max(most, peakOf(cmd.Process.Pid, self))
			select {
			case <-done:
				return
			case <-time.After(3 * time.Millisecond):
			}
		}
	}()
	_ = cmd.Wait() // the exit status says it
	close(done)
	watch.Wait()
	return result{
		args: args, stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode(),
		took: time.Since(began), cpu: processorTime(cmd.ProcessState),
	}, most
}

// peakOf adds up the peaks of a process and all below it, in KiB. One that still is this test, before it executes the
// program, does not count: it shares the memory of the test.
func peakOf(pid int, self string) int {
	sum := 0
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || exe == self {
		return 0
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			sum, _ = strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		children, _ := os.ReadFile(task)
		for _, c := range strings.Fields(string(children)) {
			if n, err := strconv.Atoi(c); err == nil {
				sum += peakOf(n, self)
			}
		}
	}
	return sum
}

// canaries are files around the place where images are unpacked: none of them may change, and nothing appear beside them.
type canaries struct {
	t    *testing.T
	dirs []string
	was  []string
}

func newCanaries(t *testing.T, h *host) *canaries {
	t.Helper()
	pool := filepath.Join(h.state, "storage-pools/default")
	c := &canaries{t: t, dirs: []string{h.dir, h.state, filepath.Join(h.state, "storage-pools"), pool, filepath.Join(pool, ".poolctl"), filepath.Join(pool, "containers"), filepath.Join(pool, "custom")}}
	for _, dir := range c.dirs {
		for name, text := range map[string]string{"secret": "canary", "passwd": "canary", "x": "canary"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.was = c.look()
	t.Cleanup(func() {
		for _, dir := range c.dirs {
			for _, name := range []string{"secret", "passwd", "x"} {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return c
}

// look lists what is in the directories of the canaries, and the canaries with all that could change of them.
func (c *canaries) look() []string {
	var out []string
	for _, dir := range c.dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, e := range entries {
			line := filepath.Join(dir, e.Name()) + " " + e.Type().String()
			if e.Type().IsRegular() && slices.Contains([]string{"secret", "passwd", "x"}, e.Name()) {
				info, err := e.Info()
				if err != nil {
					c.t.Fatal(err)
				}
				text, _ := os.ReadFile(filepath.Join(dir, e.Name()))
				st, ok := info.Sys().(*syscall.Stat_t)
				if !ok {
					c.t.Fatal("no stat")
				}
				line += fmt.Sprintf(" %q %o %d:%d %d links, changed %d.%d", text, st.Mode, st.Uid, st.Gid, st.Nlink, st.Ctim.Sec, st.Ctim.Nsec)
			}
			out = append(out, line)
		}
	}
	return out
}

func (c *canaries) check(what string) {
	c.t.Helper()
	if now := c.look(); !slices.Equal(now, c.was) {
		c.t.Errorf("%s: something outside changed:\nbefore %q\nafter  %q", what, c.was, now)
		c.was = now
	}
}

// hostileImages are the attacks: every hostile fixture, and what a unit test of one package cannot show.
func hostileImages(t *testing.T) []hostileImage {
	t.Helper()
	shared, err := fixtures.SharedDir()
	if err != nil {
		t.Fatal(err)
	}
	var all []hostileImage
	known := map[string]string{
		"gnu-sparse-big.tar": `"gnu-sparse": it exceeds the limit of 34359738368 bytes`, "pax-sparse-big.tar": `"pax-sparse": it exceeds the limit`,
		"go-getter__outside_parent.tar.gz": `"../demo.poc": the name contains ".."`, "go-getter__outside_parent.tar.zst": `"../demo.poc": the name contains ".."`,
		"zip-slip-vulnerability__zip-slip.tar": `the name contains ".."`, "zip-slip-vulnerability__zip-slip.zip": "zip is not supported",
		"pathtraversal.sqfs": "squashfs", "neg-size.tar": "invalid tar header", "empty_filename.tar": "the name is empty",
	}
	err = filepath.WalkDir(filepath.Join(shared, "fixtures/hostile"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		want, ok := known[d.Name()]
		if !ok {
			want = "?" // the tests of package tarball say what of each
		}
		all = append(all, hostileImage{name: "fixture/" + d.Name(), root: b, want: want})
		return err
	})
	if err != nil || len(all) < 40 {
		t.Fatalf("%d hostile fixtures: %v", len(all), err)
	}
	for _, name := range []string{"cirros-snapshot1.qcow2", "cirros-snapshot2.qcow2", "invalid-qcow-large-memory.img"} {
		b, err := os.ReadFile(filepath.Join(shared, "fixtures/small/qcow2", name))
		if err != nil {
			t.Fatal(err)
		}
		want := "backing file"
		if strings.HasPrefix(name, "invalid") {
			want = "cannot unpack"
		}
		all = append(all, hostileImage{name: name, root: b, ftype: fixtures.DiskKVM, want: want})
	}
	meta := file("metadata.yaml", goodMetadata)
	rootfs := entry{hdr: tar.Header{Name: "rootfs/", Typeflag: tar.TypeDir, Mode: 0o755}}
	zeros := through(t, make([]byte, 64<<20), "zstd", "-q", "-1", "-c")
	zstd := func(b []byte) []byte { return through(t, b, "zstd", "-q", "-c") }
	manyEntries := bytes.Repeat(zstd(bytes.Repeat(archive(t, false, file("dev/x", "")), 10_000)), 1000)
	aliases := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'm'; c++ {
		aliases += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	aliases += "architecture: x86_64\nproperties: {x: *l}\ntemplates: *l\n"
	super := func(at int, v ...byte) []byte {
		b, err := os.ReadFile(filepath.Join(shared, "fixtures/small/squashfs/gzip.sqfs"))
		if err != nil {
			t.Fatal(err)
		}
		copy(b[at:], v)
		return b
	}
	most := []byte{0xff, 0xff, 0xff, 0x7f}
	huge := func(typeflag byte, size int64) []byte {
		h := archive(t, false, file("x", ""))[:512]
		h[156] = typeflag
		copy(h[124:], fmt.Sprintf("%011o\x00", size))
		copy(h[148:], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		return h
	}
	more := []hostileImage{
		{name: "up", root: archive(t, true, file("../../../../secret", "evil")), want: `"../../../../secret": the name contains ".."`},
		{name: "absolute", root: archive(t, true, file("/etc/passwd", "evil")), want: `the name is absolute`},
		{name: "link-up", root: archive(t, true, link(tar.TypeSymlink, "l", "../../../../.."), file("l/secret", "evil")), want: `"l/secret": its directory "l" is a symbolic link`},
		{name: "link-absolute", root: archive(t, true, link(tar.TypeSymlink, "l", "/"), file("l/evil", "evil")), want: `its directory "l" is a symbolic link`},
		{name: "link-chain", root: archive(t, true, link(tar.TypeSymlink, "a", "b"), link(tar.TypeSymlink, "b", "../.."), file("a/secret", "evil")), want: `its directory "a" is a symbolic link`},
		{name: "hard-link-up", root: archive(t, true, link(tar.TypeLink, "l", "../../../../secret"), file("l", "evil")), want: `"l": it is a hard link to`},
		{name: "hard-link-absolute", root: archive(t, true, link(tar.TypeLink, "l", "/etc/passwd")), want: `the name is absolute`},
		{name: "hard-link-to-later", root: archive(t, true, link(tar.TypeLink, "l", "later"), file("later", "x")), want: `"l": cannot link it to "later"`},
		{name: "hard-link-chain", root: archive(t, true, link(tar.TypeSymlink, "s", "../../../../secret"), link(tar.TypeLink, "a", "s"), link(tar.TypeLink, "b", "a"), file("b", "evil")), want: ""},
		{name: "hard-link-through-link", root: archive(t, true, link(tar.TypeSymlink, "d", "../../../.."), link(tar.TypeLink, "l", "d/secret"), file("l", "evil")), want: `its directory "d" is a symbolic link`},
		{name: "devices", root: archive(t, true, entry{hdr: tar.Header{Name: "sda", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o666}}, entry{hdr: tar.Header{Name: "mem", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 1, Mode: 0o666}}, file("f", "x")), want: ""},
		{name: "rootfs-link", unified: archive(t, true, meta, link(tar.TypeSymlink, "rootfs", "../../../.."), file("rootfs/secret", "evil")), want: `"rootfs": the top directory cannot be a symbolic link`},
		{name: "templates-link", unified: archive(t, true, meta, rootfs, link(tar.TypeSymlink, "templates", "/etc")), want: `"templates": only files and directories`},
		{name: "template-link", unified: archive(t, true, meta, rootfs, link(tar.TypeSymlink, "templates/x", "/etc/shadow")), want: `"templates/x": only files and directories`},
		{name: "metadata-link", metadata: archive(t, true, link(tar.TypeSymlink, "metadata.yaml", "/etc/passwd")), root: archive(t, true, file("x", "")), want: `"metadata.yaml": only files`},
		{name: "disk-link", unified: archive(t, true, meta, link(tar.TypeSymlink, "rootfs.img", "/etc/passwd")), want: `"rootfs.img": only files`},
		{name: "disk-raw", unified: archive(t, true, meta, file("rootfs.img", "no qcow2")), want: `container`},
		{name: "many-entries", root: manyEntries, want: "limit of 1048576 entries"},
		{name: "metadata-2GB", metadata: slices.Concat(zstd(huge('0', 2<<30)), bytes.Repeat(zeros, 32)), root: archive(t, true, file("x", "")), want: "?"},
		{name: "metadata-2GB-named", metadata: slices.Concat(zstd(named(huge('0', 2<<30), "metadata.yaml")), bytes.Repeat(zeros, 32)), root: archive(t, true, file("x", "")), want: `"metadata.yaml": it exceeds the limit of 16777216 bytes`},
		{name: "metadata-1MB", metadata: zstd(archive(t, true, file("metadata.yaml", goodMetadata+strings.Repeat("#\n", 1<<19)))), root: archive(t, true, file("x", "")), want: "larger than"},
		{name: "deep", root: archive(t, true, file(strings.Repeat("d/", 300)+"f", "")), want: "limit of 256 components"},
		{name: "pax-1GB", root: slices.Concat(zstd(huge('x', 1<<30)), bytes.Repeat(zeros, 16)), want: "too long"},
		{name: "long-name-1GB", root: slices.Concat(zstd(huge('L', 1<<30)), bytes.Repeat(zeros, 16)), want: "too long"},
		{name: "global-pax-1GB", root: slices.Concat(zstd(huge('g', 1<<30)), bytes.Repeat(zeros, 16)), want: "too long"},
		{name: "yaml-aliases", metadata: archive(t, true, file("metadata.yaml", aliases)), root: archive(t, true, file("x", "")), want: "metadata.yaml: "},
		{name: "yaml-nodes", metadata: zstd(archive(t, true, file("metadata.yaml", "architecture: x86_64\nproperties: ["+strings.Repeat("a,", 125_000)+"]"))), root: archive(t, true, file("x", "")), want: "metadata.yaml: "},
		{name: "yaml-deep", metadata: zstd(archive(t, true, file("metadata.yaml", "architecture: "+strings.Repeat("[", 250_000)))), root: archive(t, true, file("x", "")), want: "metadata.yaml: "},
		{name: "zeros-behind", root: slices.Concat(zstd(archive(t, true, file("x", ""))), bytes.Repeat(zeros, 200)), want: "more than 64 MiB follow its end"},
		{name: "zeros-only", root: bytes.Repeat(zeros, 200), want: "more than 64 MiB follow its end"},
		{name: "xz-dictionary", root: through(t, archive(t, true, file("x", "")), "xz", "-c", "--lzma2=preset=0,dict=1536MiB"), want: "cannot decompress xz"},
		{name: "zstd-window", root: through(t, archive(t, true, file("x", "")), "zstd", "-q", "-c", "--long=31"), want: "?"},
		{name: "zstd-window-2GB", root: []byte("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"), want: "zstd"},
		{name: "large-window", root: through(t, archive(t, true, file("dev/x", strings.Repeat("0123456789abcdef", 9<<20)), file("y", "")), "zstd", "-q", "-1", "-c", "--long=27"), want: ""},
		{name: "large-dictionary", root: through(t, archive(t, true, file("dev/x", strings.Repeat("0123456789abcdef", 6<<20)), file("y", "")), "xz", "-0", "-c", "--lzma2=preset=0,dict=64MiB"), want: ""},
		{name: "garbage-behind", root: append(archive(t, true, file("x", "")), "garbage"...), want: ""},
		{name: "squashfs-inodes", root: super(4, most...), want: "inodes"},
		{name: "squashfs-fragments", root: super(16, most...), want: "squashfs"},
		{name: "squashfs-length", root: super(40, 0, 0, 0, 0, 0, 1, 0, 0), want: "limit of"},
		{name: "squashfs-root", root: super(32, most...), want: "squashfs"},
		{name: "squashfs-garbage", root: append(super(0), make([]byte, 100_000)...), want: ""},
		{name: "nothing", root: []byte("x"), want: "unknown file format"},
	}
	return append(all, more...)
}

// named renames the entry of a bare header.
func named(h []byte, name string) []byte {
	copy(h[:100], name+"\x00")
	copy(h[148:], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// TestHostileImages pulls images that were made to do harm: each is refused with what is wrong with it, or does none;
// nothing outside of the place where it is unpacked changes, and memory stays bounded.
func TestHostileImages(t *testing.T) {
	h := newHost(t).withPool()
	images := hostileImages(t)
	h.withRemote(serveHostile(t, h, images))
	h.ok("image", "list", "m:") // the catalogue is cached from here on
	c := newCanaries(t, h)
	largest := 0
	for i, im := range images {
		ref := "m:" + im.name
		if im.unified != nil { // a variant, whose product has no other alias
			ref = fmt.Sprintf("m:hostile/%d/unified", i)
		}
		r, peak := h.measured("image", "pull", ref)
		largest = max(largest, peak)
		switch {
		case r.code != 0 && r.code != 1:
			t.Errorf("%s: %s", im.name, r)
		case im.want == "" && r.code != 0, im.want != "" && im.want != "?" && (r.code != 1 || !strings.Contains(r.stderr, im.want)):
			t.Errorf("%s, want %q: %s", im.name, im.want, r)
		}
		if peak > maxMemory {
			t.Errorf("%s: %d MiB", im.name, peak>>10)
		}
		if r.took > 20*time.Second {
			t.Errorf("%s took %s", im.name, r.took)
		}
		c.check(im.name)
	}
	t.Logf("%d images, at most %d MiB", len(images), largest>>10)
	if left := strays(t, h); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestHostileCatalogues: catalogues that are too large, no JSON, or name paths elsewhere.
func TestHostileCatalogues(t *testing.T) {
	h := newHost(t).withPool()
	c := newCanaries(t, h)
	dir := filepath.Join(h.dir, "catalogue")
	index := `{"format":"index:1.0","index":{"images":{"datatype":"image-downloads","path":"streams/v1/images.json","products":["x"]}}}`
	sum := strings.Repeat("ab", 32)
	for i, tc := range []struct {
		index, images string
		size          int64 // that the list of images is made as long as, with zeros
		want          string
	}{
		{index: index, images: `{"products":`, size: 200 << 20, want: "larger than"},
		{index: strings.Repeat("\x00", 4096), want: `begins with`},
		{index: index, images: strings.Repeat("\x00", 4096), want: `begins with`},
		{index: strings.Replace(index, "streams/v1/images.json", "../../../etc/passwd", 1), want: `"../../../etc/passwd" is refused`},
		{index: index, images: `{"products":{` + strings.TrimSuffix(strings.Repeat(`"x":{},`, 3<<20), ",") + `}}`, want: "objects"},
		{index: index, images: `{"products":{"x":{"arch":"amd64","aliases":"up","versions":{"20250101":{"items":{"u":{"ftype":"lxd_combined.tar.gz","path":"../../secret","sha256":"` + sum + `","size":7}}}}}}}`, want: "cannot find image r5:up"},
		{index: index, images: `{"products":` + strings.Repeat(`{"a":`, 100_000), want: "broken JSON"},
	} {
		sub := filepath.Join(dir, strconv.Itoa(i), "streams/v1")
		if err := os.MkdirAll(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"index.json": tc.index, "images.json": tc.images} {
			if err := os.WriteFile(filepath.Join(sub, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if tc.size > 0 {
			if err := os.Truncate(filepath.Join(sub, "images.json"), tc.size); err != nil {
				t.Fatal(err)
			}
		}
		m := serve(t, func() (string, error) { return filepath.Join(dir, strconv.Itoa(i)), nil }, fixtures.ServeOptions{})
		h.env = append(h.env, "SSL_CERT_FILE="+m.CertFile)
		remote := fmt.Sprintf("r%d", i)
		h.ok("remote", "add", remote, m.URL, "--protocol=simplestreams", "--public")
		if i == 0 {
			c.was = c.look() // with the directories that these commands made
		}
		r, peak := h.measured("image", "pull", remote+":up")
		h.failed(r, 1, tc.want)
		if peak > maxMemory {
			t.Errorf("%.80s: %d MiB", tc.index, peak>>10)
		}
		c.check(remote)
	}
	if !json.Valid([]byte(index)) {
		t.Error("the index is damaged in ways that nobody meant")
	}
}
