package pool

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// entry is one of an archive.
type entry struct {
	name, data, link string
	kind             byte // 0: a file, or a directory when the name ends in a slash
}

// archiveOf makes an archive of entries.
func archiveOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		hdr := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: 0o4755, Size: int64(len(e.data)), Devmajor: 8, Format: tar.FormatPAX}
		if e.kind == 0 && strings.HasSuffix(e.name, "/") {
			hdr.Typeflag = tar.TypeDir
		}
		ok(t, w.WriteHeader(hdr))
		_, err := w.Write([]byte(e.data))
		ok(t, err)
	}
	ok(t, w.Close())
	return b.Bytes()
}

// indexOf is an index of a container x with more lines, which take the place of those that are so.
func indexOf(more string) entry {
	index := "name: x\nbackend: btrfs\npool: p\noptimized: false\noptimized_header: false\ntype: container\nconfig:\n  container:\n    type: container\n    config: {user.k: v}\n    devices: {}\n"
	for line := range strings.Lines(more) {
		key, _, _ := strings.Cut(line, ":")
		for old := range strings.Lines(index) {
			if strings.HasPrefix(old, key+":") {
				index = strings.Replace(index, old, "", 1)
			}
		}
	}
	return entry{name: "backup/index.yaml", data: more + index}
}

const inRoot = "backup/container/rootfs/"

// TestHostileBackups: whatever somebody puts into a backup, an import of it makes nothing, or what it says, beneath its place.
func TestHostileBackups(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", map[string]string{"size": "300MiB"})
	good := indexOf("")
	root, record := entry{name: inRoot}, entry{name: "backup/container/backup.yaml", data: "container: {}\n"}
	outside := filepath.Join(t.TempDir(), "outside")
	ok(t, os.WriteFile(outside, []byte("mine"), 0o600))
	whole := archiveOf(t, good, root, record)
	header := func(subvolumes string) entry {
		return entry{name: "backup/optimized_header.yaml", data: "subvolumes:\n" + subvolumes}
	}
	optimized := indexOf("optimized: true\noptimized_header: true\n")
	said := map[string]string{
		"no root":                 "it has no root filesystem: no such file or directory",
		"a file above":            strconv.Quote(inRoot + "../../../../x"),
		"an absolute name":        `"/backup/container/rootfs/x"`,
		"a hard link above":       strconv.Quote(inRoot + "h"),
		"a hard link to the host": strconv.Quote(outside),
	}
	for what, archive := range map[string][]byte{
		"nothing":                  nil,
		"noise":                    bytes.Repeat([]byte("noise"), 1000),
		"a gzip of nothing":        {0x1f, 0x8b, 8, 0, 0, 0},
		"an archive of nothing":    archiveOf(t),
		"no index":                 archiveOf(t, root, record),
		"two indexes":              archiveOf(t, good, good, root),
		"an index that is a link":  archiveOf(t, entry{name: "backup/index.yaml", link: "/etc/passwd", kind: tar.TypeSymlink}, root),
		"no YAML":                  archiveOf(t, entry{name: "backup/index.yaml", data: "name: ["}),
		"aliases of aliases":       archiveOf(t, entry{name: "backup/index.yaml", data: bomb()}),
		"a name above":             archiveOf(t, indexOf("name: ../x\n"), root),
		"a name with a slash":      archiveOf(t, indexOf("name: a/b\n"), root),
		"no name":                  archiveOf(t, indexOf("name: ''\n"), root),
		"a long name":              archiveOf(t, indexOf("name: "+strings.Repeat("x", 64)+"\n"), root),
		"a snapshot above":         archiveOf(t, indexOf("snapshots: [../s]\n"), root),
		"a snapshot that is .":     archiveOf(t, indexOf("snapshots: [.]\n"), root),
		"a snapshot twice":         archiveOf(t, indexOf("snapshots: [s, s]\n"), entry{name: "backup/snapshots/s/rootfs/"}, root),
		"a snapshot that is not":   archiveOf(t, indexOf("snapshots: [s]\n"), root),
		"one that is not listed":   archiveOf(t, good, root, entry{name: "backup/snapshots/s/rootfs/"}),
		"a virtual machine":        archiveOf(t, indexOf("type: virtual-machine\n"), entry{name: "backup/virtual-machine.img"}),
		"one that says so later":   archiveOf(t, entry{name: "backup/index.yaml", data: "name: x\nconfig: {container: {type: virtual-machine}}\n"}, root),
		"a bucket":                 archiveOf(t, indexOf("type: bucket\n")),
		"a volume":                 archiveOf(t, indexOf("type: custom\n"), entry{name: "backup/volume/x"}),
		"no root":                  archiveOf(t, good, record),
		"nothing in it":            archiveOf(t, good),
		"a root that is a link":    archiveOf(t, good, entry{name: "backup/container/rootfs", link: "/etc", kind: tar.TypeSymlink}),
		"a root that is a file":    archiveOf(t, good, entry{name: "backup/container/rootfs", data: "x"}),
		"no record":                archiveOf(t, entry{name: "backup/index.yaml", data: "name: x\nbackend: btrfs\npool: p\n"}, root),
		"a record that is a link":  archiveOf(t, entry{name: "backup/index.yaml", data: "name: x\nbackend: btrfs\npool: p\n"}, root, entry{name: "backup/container/backup.yaml", link: outside, kind: tar.TypeSymlink}),
		"a record that is a fifo":  archiveOf(t, entry{name: "backup/index.yaml", data: "name: x\nbackend: btrfs\npool: p\n"}, root, entry{name: "backup/container/backup.yaml", kind: tar.TypeFifo}),
		"a record that is a dir":   archiveOf(t, good, root, entry{name: "backup/container/backup.yaml/"}),
		"a file above":             archiveOf(t, good, root, entry{name: inRoot + "../../../../x", data: "x"}),
		"an absolute name":         archiveOf(t, good, root, entry{name: "/backup/container/rootfs/x", data: "x"}),
		"through a link":           archiveOf(t, good, root, entry{name: inRoot + "l", link: filepath.Dir(outside), kind: tar.TypeSymlink}, entry{name: inRoot + "l/outside", data: "x"}),
		"a hard link above":        archiveOf(t, good, root, entry{name: inRoot + "h", link: "../../../../../.." + outside, kind: tar.TypeLink}),
		"a hard link to the host":  archiveOf(t, good, root, entry{name: inRoot + "h", link: outside, kind: tar.TypeLink}),
		"a hard link to the index": archiveOf(t, good, root, entry{name: inRoot + "h", link: "backup/index.yaml", kind: tar.TypeLink}),
		"a hard link over a link":  archiveOf(t, good, root, entry{name: inRoot + "l", link: filepath.Dir(outside), kind: tar.TypeSymlink}, entry{name: inRoot + "h", link: inRoot + "l/outside", kind: tar.TypeLink}),
		"something beside":         archiveOf(t, good, root, entry{name: "backup/other", data: "x"}),
		"something outside":        archiveOf(t, good, root, entry{name: "etc/passwd", data: "x"}),
		"a stream among files":     archiveOf(t, good, root, entry{name: "backup/container.bin", data: "x"}),
		"a file among streams":     archiveOf(t, optimized, root),
		"no stream":                archiveOf(t, optimized, header("- {path: /}\n")),
		"a stream of noise":        archiveOf(t, optimized, header("- {path: /}\n"), entry{name: "backup/container.bin", data: "noise"}),
		"a stream that ends":       archiveOf(t, optimized, header("- {path: /}\n"), entry{name: "backup/container.bin", data: "btrfs-stream\x00\x01\x00\x00\x00"}),
		"streams of zfs":           archiveOf(t, indexOf("optimized: true\nbackend: zfs\n"), entry{name: "backup/container.bin", data: "x"}),
		"legacy streams of zfs":    archiveOf(t, entry{name: "backup/index.yaml", data: "name: x\nbackend: zfs\npool: p\n"}, entry{name: "backup/container.bin", data: "x"}),
		"a subvolume above":        archiveOf(t, optimized, header("- {path: /}\n- {path: /../x}\n"), entry{name: "backup/container_..-x.bin", data: "x"}),
		"a header of nothing":      archiveOf(t, optimized, header("")),
		"cut off at an entry":      whole[:len(whole)-1024],
		"junk behind it":           append(bytes.Clone(whole), "junk"...),
	} {
		t.Run(what, func(t *testing.T) {
			name, err := s.Import(t.Context(), ImportOptions{}, bytes.NewReader(archive))
			if err == nil {
				t.Fatalf("%s was imported", name)
			}
			t.Log(err)
			if want := said[what]; !strings.Contains(err.Error(), want) {
				t.Errorf("it does not say %s: %v", want, err)
			}
			all, lerr := s.Instances(t.Context())
			if ok(t, lerr); len(all) != 0 {
				t.Errorf("there is %+v", all)
			}
			for _, dir := range []string{"containers", "containers-snapshots"} {
				left, err := os.ReadDir(filepath.Join(s.dir.MountPoint("p"), dir))
				if len(left) != 0 || err != nil {
					t.Errorf("left in %s: %v, %v", dir, left, err)
				}
			}
			stagingEmpty(t, s, "p")
			if got, err := os.ReadFile(outside); string(got) != "mine" || err != nil {
				t.Fatalf("outside is %q, %v", got, err)
			}
		})
	}
	if _, err := s.Import(t.Context(), ImportOptions{}, io.MultiReader(bytes.NewReader(whole[:1500]), neverReader{})); !errors.Is(err, errGone) {
		t.Errorf("a pipe that breaks: %v", err)
	}
	stagingEmpty(t, s, "p")
}

// neverReader is a pipe that broke.
type neverReader struct{}

func (neverReader) Read([]byte) (int, error) { return 0, errGone }

// bomb is YAML that takes a terabyte when it is written out.
func bomb() string {
	out := "name: x\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 12 {
		out += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	return out + "config: {container: *a12}\n"
}

// TestBackupFromElsewhere: what opens the host to an instance is set aside, what is not here is told, no profile is made, and
// device nodes that reach hardware are left out.
func TestBackupFromElsewhere(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "300MiB"})
	var told []string
	s.notice = func(l string) { told = append(told, l) }
	index := entry{name: "backup/index.yaml", data: `name: x
backend: dir
pool: theirs
snapshots: [s1]
type: container
config:
  container:
    name: x
    type: container
    created_at: 2022-08-01T10:00:00Z
    config: {security.privileged: "true", volatile.uuid: 0777adae-9afb-4b37-ba86-f4be9e69991c, volatile.last_state.power: RUNNING}
    devices:
      host: {type: disk, source: /etc, path: /host}
    profiles: [default, theirs]
    expanded_config: {security.privileged: "true", user.of: theirs}
    expanded_devices:
      host: {type: disk, source: /etc, path: /host}
      data: {type: disk, pool: theirs, source: data, path: /data}
      root: {type: disk, pool: theirs, path: /, size: 50MiB}
  snapshots:
  - {name: x/s1, created_at: 2022-08-01T11:00:00Z, config: {security.privileged: "true"}, devices: {}, profiles: [theirs], expanded_config: {}, expanded_devices: {root: {type: disk, pool: theirs, path: /}}}
`}
	archive := archiveOf(t, index, entry{name: "backup/snapshots/s1/rootfs/"}, entry{name: inRoot}, entry{name: inRoot + "sda", kind: tar.TypeBlock}, entry{name: inRoot + "x", data: "x"})
	name, err := s.Import(ctx, ImportOptions{Config: map[string]string{"user.k": "mine"}, DeviceOverrides: map[string]map[string]string{"root": {"size": "60MiB"}}}, bytes.NewReader(archive))
	ok(t, err)
	rec, err := s.InstanceConfig(ctx, name, false)
	ok(t, err)
	if rec.Config["security.privileged"] != "" || rec.Config["user.of"] != "theirs" || rec.Config["user.k"] != "mine" || rec.Config[powerKey] != "STOPPED" {
		t.Errorf("%v", rec.Config)
	}
	if rec.Devices["host"]["type"] != "none" || rec.Devices["data"]["pool"] != "p" || rec.Devices["root"]["pool"] != "p" || rec.Devices["root"]["size"] != "60MiB" || len(rec.Profiles) != 1 {
		t.Errorf("%v %v", rec.Devices, rec.Profiles)
	}
	snap, err := s.SnapshotConfig(ctx, name, "s1")
	if ok(t, err); isTrue(snap.Config["security.privileged"]) || snap.CreatedAt.Year() != 2022 {
		t.Errorf("%+v", snap)
	}
	if _, err := s.profile("theirs"); err == nil {
		t.Error("a profile was made")
	}
	var st unix.Stat_t
	if err := unix.Lstat(s.instanceFile("p", name, "rootfs/sda"), &st); !errors.Is(err, unix.ENOENT) {
		t.Errorf("the host's disk is in it: %v", err)
	}
	if info, err := os.Stat(s.instanceFile("p", name, "")); err != nil || info.Mode().Perm() != 0o100 {
		t.Errorf("its volume is open: %v, %v", info, err)
	}
	all := strings.Join(told, "\n")
	for _, want := range []string{"no profile theirs here", "no volume data in pool p", "security.privileged", "device nodes", "/etc"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not told: %s", want, all)
		}
	}
	ok(t, s.Delete(ctx, name, false))
	if _, err := s.Import(ctx, ImportOptions{DeviceOverrides: map[string]map[string]string{"root": {"pool": "other"}}}, bytes.NewReader(archive)); err == nil {
		t.Error("the root disk is in a pool that it is not in")
	}
	if _, err := s.Import(ctx, ImportOptions{Config: map[string]string{"limits.memory": "much"}}, bytes.NewReader(archive)); err == nil {
		t.Error("a setting that cannot be is taken")
	}
	stagingEmpty(t, s, "p")
}

// TestBackupBomb: what is larger than the pool, which the archive does not look like, is refused before the pool is full.
func TestBackupBomb(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", map[string]string{"size": "200MiB"})
	r, w := io.Pipe()
	go func() {
		a := tar.NewWriter(w)
		block := bytes.Repeat([]byte("bomb"), 1<<18)
		err := errors.Join(a.WriteHeader(&tar.Header{Name: "backup/index.yaml", Size: int64(len(indexOf("").data)), Mode: 0o600}), writeAll(a, []byte(indexOf("").data)),
			a.WriteHeader(&tar.Header{Name: inRoot + "bomb", Size: 1 << 40, Mode: 0o600}))
		for err == nil {
			err = writeAll(a, block)
		}
		_ = w.CloseWithError(err) // never fails
	}()
	_, err := s.Import(t.Context(), ImportOptions{}, r)
	ok(t, r.Close())
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "the backup") {
		t.Errorf("%v", err)
	}
	stagingEmpty(t, s, "p")
	u, err := btrfs.GetUsage(s.dir.MountPoint("p"))
	if ok(t, err); poolFree(u) < 50<<20 {
		t.Errorf("%d bytes are free", poolFree(u))
	}
}

func writeAll(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}
