package pool

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/journal"
	"poolctl/pool/state"
)

// newDevice makes a block device that is empty: a loop device. Make it before
// the System, which ends first then.
func newDevice(t *testing.T, size int64) (dev, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, size)); err != nil {
		t.Fatal(err)
	}
	return losetup(t, file), file
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}

// noLeftovers checks that a refused or undone creation of pool x left nothing.
func noLeftovers(t *testing.T, s *System, when string) {
	t.Helper()
	if _, err := s.dir.LoadPool("x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: there is a record: %v", when, err)
	}
	if entries, err := os.ReadDir(s.journalDir()); err != nil && !errors.Is(err, os.ErrNotExist) || len(entries) != 0 {
		t.Errorf("%s: journal: %v, %v", when, entries, err)
	}
	if _, err := os.Lstat(s.dir.MountPoint("x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: the mount point is there: %v", when, err)
	}
}

func TestDevicePoolLife(t *testing.T) {
	dev, file := newDevice(t, 512<<20)
	link := filepath.Join(t.TempDir(), "by id\nwith a newline")
	if err := os.Symlink(dev, link); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "x", map[string]string{"source": link, "compress": "lzo"})
	info, err := s.PoolInfo(ctx, "x")
	if err != nil || info.Kind != "device" || info.File != nil || info.Device == nil || info.Device.Path != link || info.Device.Size != 512<<20 || !info.Attached || info.Usage == nil {
		t.Fatalf("%+v, %v", info, err)
	}
	if super, err := btrfs.ReadSuper(dev); err != nil || super.Label != "x" || super.UUID != info.UUID {
		t.Errorf("%+v, %v", super, err)
	}
	if got := mountOptionsOf(t, s, "x"); !strings.Contains(got, ",compress=lzo,") {
		t.Errorf("options %s", got)
	}
	addInstance(t, s, "x", "c1")
	if err := errors.Join(s.DetachPool(ctx, "x"), s.AttachPool(ctx, "x"), s.AttachPool(ctx, "x")); err != nil {
		t.Fatal(err)
	}
	if in, err := s.Instances(ctx); err != nil || len(in) != 1 {
		t.Errorf("%v, %v", in, err)
	}
	if err := s.DeletePool(ctx, "x", false); !errors.Is(err, ErrInUse) {
		t.Errorf("deleted with an instance in it: %v", err)
	}
	if err := s.DeletePool(ctx, "x", true); err != nil {
		t.Fatal(err)
	}
	noLeftovers(t, s, "deleted")
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if supers, err := btrfs.Supers(f); err != nil || len(supers) != 0 {
		t.Errorf("superblocks of the deleted pool: %v, %v", supers, err)
	}
	createPool(t, s, "x", map[string]string{"source": dev}) // without --wipe: it is empty again
}

// places reads the beginning, the middle and the end of a device's file of 128
// MiB: where something could have been written.
func places(t *testing.T, file string) []byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var out []byte
	for _, at := range []int64{0, 62 << 20, 124 << 20} {
		part := make([]byte, 4<<20)
		if _, err := f.ReadAt(part, at); err != nil {
			t.Fatal(err)
		}
		out = append(out, part...)
	}
	return out
}

// What devices hold is refused and stays as it is, until --wipe names the device.
func TestCreateRefusesFullDevices(t *testing.T) {
	dev, file := newDevice(t, 128<<20)
	other, _ := newDevice(t, 128<<20)
	s := newSystem(t)
	fill := func(at int64, data string) func() {
		return func() {
			f, err := os.OpenFile(file, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte(data), at)
				err = errors.Join(err, f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, c := range []struct {
		holds string
		make  func()
	}{
		{"ext", func() { run(t, "mkfs.ext4", "-q", "-F", dev) }},
		{"swap", func() { run(t, "mkswap", dev) }},
		{"btrfs", func() { run(t, "mkfs.btrfs", "-q", dev) }},
		{"btrfs", fill(64<<20+64, "_BHRfS_M")}, // a copy alone
		{"LUKS", fill(0, "LUKS\xba\xbe\x00\x02")},
		{"LVM", fill(0x218, "LVM2 001")},
		{"GPT", fill(512, "EFI PART")},
		{"GPT", fill(128<<20-512, "EFI PART")},
		{"partition table", fill(510, "\x55\xaa")},
		{"RAID", fill(4096, "\xfc\x4e\x2b\xa9")},
		{"VMFS", fill(1<<20, "\x0d\xd0\x01\xc0")},
		{"does not know", fill(1000, "x")},
		{"does not know", fill(128<<20-1, "x")},
	} {
		if err := errors.Join(os.Truncate(file, 0), os.Truncate(file, 128<<20)); err != nil {
			t.Fatal(err)
		}
		run(t, "blockdev", "--flushbufs", dev)
		c.make()
		run(t, "blockdev", "--flushbufs", dev)
		before := places(t, file)
		configs := []map[string]string{{"source": dev}}
		if i == 0 {
			configs = append(configs, map[string]string{"source": dev, "source.wipe": "false"}, map[string]string{"source": dev, "source.wipe": "true"},
				map[string]string{"source": dev, "source.wipe": other}, map[string]string{"source": dev, "source.wipe": "/dev/nosuch"})
		}
		for _, config := range configs {
			err := s.CreatePool(t.Context(), CreatePoolOptions{Name: "x", Config: config})
			if err == nil || config["source.wipe"] == "" && !strings.Contains(err.Error(), c.holds) {
				t.Fatalf("%s %v: %v", c.holds, config, err)
			}
			noLeftovers(t, s, c.holds)
		}
		if !bytes.Equal(before, places(t, file)) {
			t.Fatalf("%s: the device was changed", c.holds)
		}
		if i%4 != 0 {
			continue
		}
		createPool(t, s, "x", map[string]string{"source": dev, "source.wipe": dev})
		if rec, err := s.loadPool("x"); err != nil || rec.Config["source.wipe"] != "" || rec.Kind != state.PoolDevice {
			t.Fatalf("%+v, %v", rec, err)
		}
		if err := s.DeletePool(t.Context(), "x", false); err != nil {
			t.Fatalf("%s: %v", c.holds, err)
		}
	}
}

func TestCreateRefusesDevicesInUse(t *testing.T) {
	dev, _ := newDevice(t, 128<<20)
	small, _ := newDevice(t, 64<<20)
	_, file := newDevice(t, 128<<20)
	readOnly := losetup(t, "-r", file)
	s := newSystem(t)
	run(t, "mkfs.btrfs", "-q", dev)
	mountDevice(t, dev, 0)
	for name, config := range map[string]map[string]string{
		"mounted":         {"source": dev, "source.wipe": dev},
		"too small":       {"source": small},
		"read-only":       {"source": readOnly},
		"not there":       {"source": "/dev/poolctl-nosuch"},
		"no block device": {"source": "/dev/null"},
		"size":            {"source": small, "size": "64MiB"},
	} {
		if err := s.CreatePool(t.Context(), CreatePoolOptions{Name: "x", Config: config}); err == nil || !strings.HasPrefix(err.Error(), "cannot create pool") {
			t.Errorf("%s: %v", name, err)
		}
		noLeftovers(t, s, name)
	}
	if _, err := os.Lstat("/dev/poolctl-nosuch"); err == nil {
		t.Error("a file was made in /dev")
	}
}

// A device that has another name now is found by its file system's UUID; another
// device in its place is not taken for it.
func TestDeviceIsFoundByUUID(t *testing.T) {
	dev, file := newDevice(t, 128<<20)
	dir := t.TempDir()
	link := filepath.Join(dir, "disk")
	if err := os.Symlink(dev, link); err != nil {
		t.Fatal(err)
	}
	other, _ := newDevice(t, 128<<20)
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "x", map[string]string{"source": link})
	addInstance(t, s, "x", "c1")
	if err := errors.Join(s.DetachPool(ctx, "x"), os.Remove(link), os.Symlink(other, link)); err != nil {
		t.Fatal(err)
	}
	if err := s.AttachPool(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	if info, err := s.PoolInfo(ctx, "x"); err != nil || info.Device.Path != dev {
		t.Errorf("%+v, %v", info.Device, err)
	}
	if err := errors.Join(s.DetachPool(ctx, "x")); err != nil {
		t.Fatal(err)
	}
	second := losetup(t, file) // the same UUID twice
	if err := s.AttachPool(ctx, "x"); err == nil || !strings.Contains(err.Error(), second) {
		t.Errorf("of two devices: %v", err)
	}
	run(t, "losetup", "-d", second)
	run(t, "losetup", "-d", dev)
	err := s.AttachPool(ctx, "x")
	if err == nil || !strings.Contains(err.Error(), "another file system") && !strings.Contains(err.Error(), "no btrfs") {
		t.Errorf("without the device: %v", err)
	}
	if pools, err := s.Pools(ctx); err != nil || pools[0].Status != "Unavailable" {
		t.Errorf("%+v, %v", pools, err)
	}
	if err := s.DeletePool(ctx, "x", false); err == nil {
		t.Error("a pool of which the device is gone was deleted without force")
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeletePool(ctx, "x", true); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the device that was away was changed: %v", err)
	}
}

// An intent of a creation or deletion wipes its own file system, finished or
// not, and no other.
func TestDeviceRecovery(t *testing.T) {
	dev, _ := newDevice(t, 128<<20)
	s := newSystem(t)
	uuid := btrfs.NewUUID()
	begin := func(op, uuid string) {
		t.Helper()
		e, err := journal.Begin(t.Context(), s.journalDir(), op, creating{Name: "x", Kind: state.PoolDevice, Path: dev, UUID: uuid})
		if err == nil {
			err = e.Close()
		}
		if err == nil {
			_, err = Open(t.Context(), Options{Root: s.dir.Root, Notice: func(l string) { t.Error(l) }})
		}
		if err != nil {
			t.Fatal(err)
		}
		noLeftovers(t, s, op)
	}
	holds := func() bool {
		_, err := btrfs.ReadSuper(dev)
		return err == nil
	}
	for _, op := range []string{"pool-create", "pool-delete"} {
		if err := btrfs.Mkfs(t.Context(), dev, nil, btrfs.MkfsOptions{UUID: uuid, ExtraArgs: []string{"-f"}}); err != nil {
			t.Fatal(err)
		}
		begin(op, btrfs.NewUUID())
		if !holds() {
			t.Errorf("%s wiped another file system", op)
		}
		begin(op, uuid)
		if holds() {
			t.Errorf("%s left the file system", op)
		}
	}
	// What mkfs.btrfs has not finished has another magic number.
	if err := btrfs.Mkfs(t.Context(), dev, nil, btrfs.MkfsOptions{UUID: uuid}); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("!"), 64<<10+64)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	begin("pool-create", uuid)
	createPool(t, s, "x", map[string]string{"source": dev})
}

func TestDeviceCreateCancelled(t *testing.T) {
	dev, file := newDevice(t, 128<<20)
	s := newSystem(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.CreatePool(ctx, CreatePoolOptions{Name: "x", Config: map[string]string{"source": dev}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	noLeftovers(t, s, "cancelled")
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil || st.Blocks != 0 {
		t.Errorf("something was written: %d blocks, %v", st.Blocks, err)
	}
}
