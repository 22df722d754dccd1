package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"poolctl/fixtures"
)

// lxd is a real LXD daemon with a state directory of its own.
type lxd struct {
	t    *testing.T
	dir  string
	env  []string
	proc *exec.Cmd
}

// newLXD starts LXD in dir, which is to be short: sockets are made below it.
func newLXD(t *testing.T, dir string, m *fixtures.Server) *lxd {
	t.Helper()
	for _, program := range []string{"lxd", "lxc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is required (Debian: lxd, lxd-client; scripts/setup installs them): %v", program, err)
		}
	}
	for _, d := range []string{dir, filepath.Join(dir, "conf"), filepath.Join(dir, "lxd")} {
		if err := os.Mkdir(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	l := &lxd{t: t, dir: dir}
	l.env = append(os.Environ(), "LXD_DIR="+filepath.Join(dir, "lxd"), "LXD_CONF="+filepath.Join(dir, "conf"), "SSL_CERT_FILE="+m.CertFile)
	l.start()
	t.Cleanup(l.stop)
	return l
}

func (l *lxd) start() {
	l.t.Helper()
	out, err := os.OpenFile(filepath.Join(l.dir, "out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = out.Close() }() // the daemon has it
	l.proc = exec.CommandContext(context.Background(), "lxd", "--group", "root")
	l.proc.Env, l.proc.Stdout, l.proc.Stderr = l.env, out, out
	if err := l.proc.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.run("", "lxd", "waitready", "--timeout", "120")
}

// stop ends the daemon with its instances, and what it leaves mounted.
func (l *lxd) stop() {
	if l.proc == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	bye := exec.CommandContext(ctx, "lxd", "shutdown", "--timeout", "60")
	bye.Env = l.env
	if out, err := bye.CombinedOutput(); err != nil {
		l.t.Errorf("lxd shutdown: %v: %s", err, out)
		_ = l.proc.Process.Kill()
	}
	_ = l.proc.Wait() // its status says nothing
	l.proc = nil
	for range 100 { // mounts on mounts
		all, err := mountinfo.GetMounts(mountinfo.PrefixFilter(l.dir))
		if err != nil {
			l.t.Fatal(err)
		}
		if len(all) == 0 {
			return
		}
		if err := unix.Unmount(all[len(all)-1].Mountpoint, unix.MNT_DETACH); err != nil {
			l.t.Errorf("cannot unmount %s of LXD's: %v", all[len(all)-1].Mountpoint, err)
			return
		}
	}
}

// lxc runs the client, which must succeed, and returns its output.
func (l *lxd) lxc(args ...string) string {
	l.t.Helper()
	return l.run("", "lxc", args...)
}

func (l *lxd) run(stdin, program string, args ...string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = l.env, strings.NewReader(stdin), &out, &errs, time.Second
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		log, _ := os.ReadFile(filepath.Join(l.dir, "out"))
		l.t.Fatalf("%s %s: %v\n%s\nthe daemon: %s", program, strings.Join(args, " "), err, errs.String(), log)
	}
	return out.String()
}

// file is the image file of the pool of that name.
func (l *lxd) file(pool string) string { return filepath.Join(l.dir, "lxd/disks", pool+".img") }

// fill makes a pool "default" as people have one: r1, which has run, with the snapshots s0 (never run) and s1 and a
// volume; r2, which has not; and p_r3 of a project. A profile of LXD's says something.
func (l *lxd) fill(m *fixtures.Server) {
	l.t.Helper()
	l.run(`storage_pools:
- {name: default, driver: btrfs, config: {size: 1GiB}}
profiles:
- name: default
  config: {user.tier: gold}
  devices: {root: {path: /, pool: default, type: disk}}
`, "lxd", "init", "--preseed")
	l.lxc("remote", "add", "m", m.URL, "--protocol=simplestreams", "--public")
	l.lxc("profile", "create", "extra")
	l.lxc("profile", "set", "extra", "user.extra", "1")
	l.lxc("init", "m:alpinelinux/3.8", "r1", "-p", "default", "-p", "extra")
	l.lxc("snapshot", "r1", "s0")
	l.lxc("storage", "volume", "create", "default", "vol1")
	l.lxc("storage", "volume", "attach", "default", "vol1", "r1", "data", "/data")
	l.lxc("start", "r1")
	l.lxc("exec", "r1", "--", "sh", "-c", "echo kept > /root/mark; echo of-1000 > /root/of-1000; chown 1000:1001 /root/of-1000; echo in-volume > /data/file; chown 1000:1001 /data/file")
	l.lxc("snapshot", "r1", "s1")
	l.lxc("exec", "r1", "--", "sh", "-c", "echo later > /root/mark")
	l.lxc("storage", "volume", "snapshot", "default", "vol1", "vs1")
	l.lxc("stop", "-f", "r1")
	l.lxc("init", "m:alpine", "r2")
	l.lxc("project", "create", "p", "-c", "features.images=false", "-c", "features.profiles=false")
	l.lxc("init", "m:alpine", "r3", "--project", "p")
}
