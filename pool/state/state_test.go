package state

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestMain: with STATE_TEST_LOCK this binary is a child that takes the pool lock p of that directory, says so and waits.
func TestMain(m *testing.M) {
	if root := os.Getenv("STATE_TEST_LOCK"); root != "" {
		d, err := Open(root)
		unlock := Unlock(func() {})
		if err == nil {
			unlock, err = d.LockPool(context.Background(), "p", false)
		}
		if err != nil {
			_, _ = os.Stdout.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		_, _ = os.Stdout.WriteString("locked\n")
		time.Sleep(time.Minute) // the parent kills it long before
		unlock()                // not reached: keeps the lock from being garbage
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func open(t *testing.T) *Dir {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests must run as root")
	}
	d, err := Open(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenMakesTheFolders(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	d := open(t)
	for path, mode := range map[string]fs.FileMode{
		"": 0o711, "disks": 0o700, "storage-pools": 0o711, "pools": 0o700, "networks": 0o711, "profiles": 0o700,
		"cache": 0o700, "logs": 0o700, "run": 0o711, "run/locks": 0o700,
	} {
		info, err := os.Stat(filepath.Join(d.Root, path))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: %v, %v; want mode %o", path, info, err, mode)
		}
	}
	if _, err := Open(d.Root); err != nil {
		t.Errorf("opening again: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file as the state directory: %v", err)
	}
	bad := filepath.Join(dir, "bad")
	if err := errors.Join(os.Mkdir(bad, 0o700), os.WriteFile(filepath.Join(bad, "disks"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(bad); err == nil || !strings.Contains(err.Error(), filepath.Join(bad, "disks")) {
		t.Errorf("a file as disks/: %v", err)
	}
}

// TestOpenResolves checks that Root can be compared with mountinfo.
func TestOpenResolves(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "real"), 0o700), os.Symlink("real", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	d, err := Open(filepath.Join(dir, "link"))
	if err != nil || filepath.Base(d.Root) != "real" {
		t.Fatalf("%+v, %v", d, err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "default", "A-1_b.c", "_x", strings.Repeat("a", 63), "7"} {
		if err := ValidateName("pool", name); err != nil {
			t.Errorf("%q refused: %v", name, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", ".a", "-a", "a/b", "a b", "a\n", "a\x00", "ä", strings.Repeat("a", 64), "../x", "a:b", "*",
	} {
		if err := ValidateName("pool", name); !errors.Is(err, ErrInvalidName) {
			t.Errorf("%q accepted: %v", name, err)
		}
	}
}

// TestNoPathEscapes checks that every way in refuses a name that is a path.
func TestNoPathEscapes(t *testing.T) {
	d, name := open(t), "../../etc/x"
	_, loadErr := d.LoadPool(name)
	_, lockErr := d.LockPool(t.Context(), name, true)
	_, instErr := d.LockInstance(t.Context(), name)
	_, imageErr := d.LockImage(t.Context(), name)
	for i, err := range []error{
		loadErr, lockErr, instErr, imageErr, d.SavePool(PoolRecord{Name: name}), d.DeletePool(name), d.RemoveCache(name),
		d.SaveNetwork(NetworkRecord{Name: name}), d.SaveProfile(Profile{Name: name}),
	} {
		if !errors.Is(err, ErrInvalidName) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestPoolRecords(t *testing.T) {
	d := open(t)
	if _, err := d.LoadPool("p"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no record: %v", err)
	}
	want := PoolRecord{
		Name: "p", Driver: "btrfs", Source: "/x/p.img", Config: map[string]string{"size": "2GiB"}, UUID: "u",
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Detached: true,
	}
	for _, rec := range []PoolRecord{{Name: "q"}, {Name: "p"}, want} {
		if err := d.SavePool(rec); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.LoadPool("p")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	names, err := d.ListPools()
	if diff := cmp.Diff([]string{"p", "q"}, names); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	if err := errors.Join(d.DeletePool("p"), d.DeletePool("q")); err != nil {
		t.Fatal(err)
	}
	if err := d.DeletePool("p"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("deleting again: %v", err)
	}
	left, err := os.ReadDir(d.Pools())
	if len(left) != 0 || err != nil {
		t.Fatal(left, err)
	}
}

func TestDamagedRecords(t *testing.T) {
	d := open(t)
	path := filepath.Join(d.Pools(), "p.json")
	for name, content := range map[string]string{
		"empty": "", "torn": `{"name": "p`, "other type": `{"config": 3}`, "huge": strings.Repeat(" ", maxRecord+1),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.LoadPool("p"); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v does not name %s", name, err, path)
		}
	}
	if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.LoadPool("p"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("fifo: %v does not name %s", err, path)
	}
}

func TestProfiles(t *testing.T) {
	d := open(t)
	names, err := d.ListProfiles()
	if diff := cmp.Diff([]string{"default"}, names); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	p, err := d.LoadProfile("default")
	if err != nil || len(p.Devices) != 0 || len(p.Config) != 0 {
		t.Fatal(p, err)
	}
	p.Devices["eth0"] = map[string]string{"type": "nic"}
	if err := errors.Join(d.SaveProfile(p), d.SaveProfile(Profile{Name: "a"})); err != nil {
		t.Fatal(err)
	}
	again, err := d.LoadProfile("default")
	if diff := cmp.Diff(p, again); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	names, err = d.ListProfiles()
	if diff := cmp.Diff([]string{"a", "default"}, names); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	if err := d.DeleteProfile("default"); err == nil {
		t.Error("the default profile was deleted")
	}
	if err := d.DeleteProfile("a"); err != nil {
		t.Error(err)
	}
}

func TestRemotes(t *testing.T) {
	d := open(t)
	r, err := d.LoadRemotes()
	if err != nil || len(r.Added)+len(r.Removed) != 0 {
		t.Fatal(r, err)
	}
	r.Put(Remote{Name: "x", URL: "https://x", Protocol: "simplestreams", Public: true})
	r.Put(Remote{Name: "y", URL: "https://y", Protocol: "simplestreams", InsecureHTTP: true})
	r.Put(Remote{Name: "x", URL: "https://z", Protocol: "simplestreams", Public: true, Mirrors: []string{"https://m"}, Keyring: []byte("k")})
	r.Default = "x"
	r.Remove("images", true)
	r.Remove("images", true)
	r.Remove("y", false)
	if err := d.SaveRemotes(r); err != nil {
		t.Fatal(err)
	}
	got, err := d.LoadRemotes()
	want := Remotes{Added: []Remote{{Name: "x", URL: "https://z", Protocol: "simplestreams", Public: true, Mirrors: []string{"https://m"}, Keyring: []byte("k")}}, Removed: []string{"images"}, Default: "x"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
}

// TestStaleTemporaryFiles: what a killed save left goes with a later one, but not what a running one has.
func TestStaleTemporaryFiles(t *testing.T) {
	d := open(t)
	old, young := filepath.Join(d.Pools(), ".p.json123"), filepath.Join(d.Pools(), ".p.json124")
	past := time.Now().Add(-2 * staleAfter)
	err := errors.Join(os.WriteFile(old, nil, 0o600), os.WriteFile(young, nil, 0o600), os.Chtimes(old, past, past))
	if err := errors.Join(err, d.SavePool(PoolRecord{Name: "p"})); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", old, err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
}

// TestKilledSave: the temporary file of a killed save goes when the state directory is next opened, and the one of a save
// that is under way stays until it is done.
func TestKilledSave(t *testing.T) {
	d := open(t)
	for _, dir := range []string{d.Root, d.Pools(), d.Networks(), d.profiles()} {
		left, held := filepath.Join(dir, ".p.json~123"), filepath.Join(dir, ".p.json~124")
		f, err := os.Create(held)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_EX), os.WriteFile(left, []byte("{}"), 0o600))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(d.Root); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", left, err)
		}
		if _, err := os.Stat(held); err != nil {
			t.Errorf("that of a living process is gone: %v", err)
		}
		f.Close()
		if _, err := Open(d.Root); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(held); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there when its lock is free: %v", held, err)
		}
	}
}

func TestLocks(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	one, err := d.LockPool(t.Context(), "p", true)
	if err != nil {
		t.Fatal(err)
	}
	two, err := d.LockPool(t.Context(), "p", true)
	if err != nil {
		t.Fatalf("second shared lock: %v", err)
	}
	if _, err := d.LockPool(ctx, "p", false); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("exclusive beside shared: %v", err)
	}
	other, err := d.LockPool(t.Context(), "q", false)
	if err != nil {
		t.Fatal(err)
	}
	one()
	one()
	two()
	other()
	three, err := d.LockPool(t.Context(), "p", false)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, three)
	four, err := d.LockPool(t.Context(), "p", false)
	if err != nil {
		t.Fatalf("waiting for an exclusive lock: %v", err)
	}
	four()
}

// TestLockOfKilledProcess checks that the kernel gives the lock back.
func TestLockOfKilledProcess(t *testing.T) {
	d := open(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STATE_TEST_LOCK="+d.Root)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := out.Read(buf); err != nil || string(buf[:n]) != "locked\n" {
		t.Fatalf("child: %q, %v", buf[:n], err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := d.LockPool(ctx, "p", true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beside the child's lock: %v", err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed: its status says nothing
	unlock, err := d.LockPool(t.Context(), "p", false)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func FuzzLoadJSON(f *testing.F) {
	f.Add([]byte(`{"name":"p","config":{"size":"1GiB"}}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(t.TempDir(), "p.json")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		var rec PoolRecord
		if err := LoadJSON(path, &rec); err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%v does not name the file", err)
		}
	})
}
