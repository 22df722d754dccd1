package pool

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/pool/tree"
	"poolctl/runtime"
)

// busyboxInstance makes an instance of the host's static busybox, without an image server.
func busyboxInstance(t *testing.T, s *System, pool, name string) {
	t.Helper()
	p, err := s.openPool(t.Context(), pool)
	ok(t, err)
	defer func() { _ = p.close() }()
	fp := strings.Repeat("ab", 32)
	if _, err := p.Image(fp); err != nil {
		stage, err := p.StageImage(t.Context())
		ok(t, err)
		script := `cd "$0" && mkdir -p rootfs templates && cd rootfs && mkdir -p bin sbin etc dev proc sys root tmp run usr/bin usr/sbin mnt && cp /bin/busybox bin/ && for f in $(busybox --list-full); do [ -e $f ] || ln -s /bin/busybox $f 2>/dev/null; done; echo '::respawn:/bin/sleep 1000' > etc/inittab; echo 'root:x:0:0::/root:/bin/sh' > etc/passwd`
		ok(t, exec.Command("sh", "-c", script, stage.Dir()).Run(), os.WriteFile(filepath.Join(stage.Dir(), "metadata.yaml"), []byte("architecture: x86_64\ncreation_date: 1\n"), 0o644),
			stage.CommitImage(t.Context(), tree.ImageRecord{Fingerprint: fp, Type: "container"}), stage.Abort())
	}
	rec := tree.Instance{Name: name, Type: "container", Profiles: []string{}, Config: map[string]string{}, Devices: map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": pool}}}
	ok(t, s.reexpand(&rec), p.CreateInstance(t.Context(), rec, fp))
	t.Cleanup(func() { _ = s.Stop(t.Context(), name, StopOptions{Force: true}) })
}

// execOK runs a shell command in a running instance.
func (s *System) execOK(t *testing.T, name, script string) {
	t.Helper()
	in, err := s.runningInstance(name)
	ok(t, err)
	defer func() { _ = in.Close() }()
	if code, err := in.Exec(t.Context(), runtime.ExecOptions{Args: []string{"sh", "-c", script}}); code != 0 || err != nil {
		t.Errorf("%s: %s: %d, %v", name, script, code, err)
	}
}

// TestVolumeInInstances: volumes come to and go from instances that run, and two can have one.
func TestVolumeInInstances(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	createPool(t, s, "p2", nil)
	createVolume(t, s, "p2", "v", nil)
	busyboxInstance(t, s, "p1", "c1")
	busyboxInstance(t, s, "p1", "c2")
	at := func(name, device, path string) AttachVolumeOptions {
		return AttachVolumeOptions{Pool: "p2", Volume: "v", Target: name, Device: device, Path: path}
	}
	ok(t, s.Start(ctx, "c1"), s.AttachVolume(ctx, at("c1", "", "/srv/new dir/v")), s.AttachVolume(ctx, at("c2", "d", "/mnt")), s.Start(ctx, "c2"))
	defer func() { ok(t, s.Stop(ctx, "c1", StopOptions{Force: true})) }()
	s.execOK(t, "c1", "echo shared > '/srv/new dir/v/f' && chown 1000:1001 '/srv/new dir/v/f'")
	s.execOK(t, "c2", `[ "$(cat /mnt/f)$(stat -c %u:%g /mnt/f)" = shared1000:1001 ]`)
	for what, err := range map[string]error{
		"delete": s.DeleteVolume(ctx, "p2", "v"), "rename": s.RenameVolume(ctx, "p2", "v", "w"), "detach the pool": s.DetachPool(ctx, "p2"),
	} {
		if !errors.Is(err, ErrInUse) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := s.AttachVolume(ctx, at("c1", "", "/x")); !errors.Is(err, ErrExists) {
		t.Errorf("attached twice under one name: %v", err)
	}
	s.execOK(t, "c2", "cd /mnt; sleep 1000 </dev/null >/dev/null 2>&1 &")
	if err := s.DetachVolume(ctx, at("c2", "", "")); !errors.Is(err, runtime.ErrDiskBusy) {
		t.Errorf("detached while it is in use: %v", err)
	}
	ok(t, s.Stop(ctx, "c2", StopOptions{Force: true}), s.DetachVolume(ctx, at("c2", "", "")), s.DetachVolume(ctx, at("c1", "", "")))
	s.execOK(t, "c1", "! [ -e '/srv/new dir/v/f' ]")
	ok(t, s.RenameVolume(ctx, "p2", "v", "w"), s.DeleteVolume(ctx, "p2", "w"))
}
