package pool

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

func sendOf(t *testing.T, s *System, o SendOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	ok(t, s.Send(t.Context(), o, &b))
	return b.Bytes()
}

// TestSendReceive: an instance is what was sent, in full and step by step.
func TestSendReceive(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	fullInstance(t, s)
	receive := func(o ReceiveOptions, raw []byte) Received {
		t.Helper()
		got, err := s.Receive(ctx, o, bytes.NewReader(raw))
		ok(t, err)
		return got
	}
	var sent, received []Progress
	raw := sendOf(t, s, SendOptions{Instance: "c1", Progress: func(p Progress) { sent = append(sent, p) }})
	got := receive(ReceiveOptions{Name: "all", Pool: "b", Progress: func(p Progress) { received = append(received, p) }}, raw)
	if !isWhole(sent) || !isWhole(received) {
		t.Errorf("there was reported: %+v, %+v", sent, received)
	}
	if !got.New || got.Name != "all" || !slices.Equal(got.Snapshots, []string{"s0", "s1"}) {
		t.Errorf("%+v", got)
	}
	// Beside what it was sent from it has a machine id of its own.
	sameTrees(t, s, "c1", "all", ofMachine...)
	for _, at := range []string{"/s0", "/s1"} {
		sameTrees(t, s, "c1"+at, "all"+at)
	}
	// A series: a snapshot in full, then what differs from it, then the present.
	receive(ReceiveOptions{Name: "r", Pool: "b"}, sendOf(t, s, SendOptions{Instance: "c1", Snapshot: "s0", Compression: "none"}))
	sameTrees(t, s, "c1/s0", "r", ofMachine...)
	checkOwnIdentity(t, s, "r")
	ok(t, s.SetInstanceConfig(ctx, "r", map[string]string{"user.own": "1"}))
	uuid := recordOf(t, s, "r").Config["volatile.uuid"]
	step := sendOf(t, s, SendOptions{Instance: "c1", Snapshot: "s1", Parent: "s0"})
	if full := sendOf(t, s, SendOptions{Instance: "c1", Snapshot: "s1"}); len(step) > len(full) {
		t.Errorf("what differs takes %d bytes, all %d", len(step), len(full))
	}
	got = receive(ReceiveOptions{Name: "r"}, step)
	if got.New || !slices.Equal(got.Snapshots, []string{"s1"}) || !slices.Equal(snapshotsOf(t, s, "r"), []string{"s0", "s1"}) {
		t.Errorf("%+v", got)
	}
	snapshotInstance(t, s, "c1", "s2")
	receive(ReceiveOptions{Name: "r"}, sendOf(t, s, SendOptions{Instance: "c1", Parent: "s1"}))
	sameTrees(t, s, "c1", "r", ofMachine...)
	checkOwnIdentity(t, s, "r")
	for _, at := range []string{"/s0", "/s1", "/s2"} {
		sameTrees(t, s, "c1"+at, "r"+at)
	}
	if rec := recordOf(t, s, "r"); rec.Config["user.own"] != "1" || rec.Config["volatile.uuid"] != uuid || rec.Snapshots[2].ExpandedDevices["root"]["pool"] != "b" {
		t.Errorf("%+v", rec)
	}
	// And back: what was received there builds on what it was sent from here.
	ok(t, os.WriteFile(diskRoot(t, s, "r")+"/there", []byte("there"), 0o600))
	snapshotInstance(t, s, "r", "s3")
	receive(ReceiveOptions{Name: "c1", Force: true}, sendOf(t, s, SendOptions{Instance: "r", Snapshot: "s3", Parent: "s2"}))
	sameTrees(t, s, "r", "c1", ofMachine...)
	sameTrees(t, s, "r/s3", "c1/s3")
}

// TestReceiveRefused: what cannot be received changes nothing, and says what is missing.
func TestReceiveRefused(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	fullInstance(t, s)
	full, step := sendOf(t, s, SendOptions{Instance: "c1", Snapshot: "s0"}), sendOf(t, s, SendOptions{Instance: "c1", Snapshot: "s1", Parent: "s0"})
	refused := func(what, want string, o ReceiveOptions, raw []byte) {
		t.Helper()
		before, err := s.Instances(ctx)
		ok(t, err)
		_, err = s.Receive(ctx, o, bytes.NewReader(raw))
		if err == nil || !strings.Contains(err.Error()+"\n"+hint(err), want) {
			t.Errorf("%s: %v, hint %q", what, err, hint(err))
		}
		after, err := s.Instances(ctx)
		if err != nil || len(after) != len(before) {
			t.Errorf("%s: %d instances, %v", what, len(after), err)
		}
		for _, pool := range []string{"a", "b"} {
			if left, err := os.ReadDir(filepath.Join(s.dir.MountPoint(pool), ".poolctl/staging")); err != nil || len(left) > 0 {
				t.Errorf("%s: left in %s: %v, %v", what, pool, left, err)
			}
		}
	}
	refused("no instance", `builds on the snapshot "s0" of c1`, ReceiveOptions{Name: "r"}, step)
	refused("taken", "exists", ReceiveOptions{}, full)
	refused("cut off", "cut off", ReceiveOptions{Name: "r", Pool: "b"}, full[:len(full)/2])
	refused("cut off at the end", "cut off", ReceiveOptions{Name: "r", Pool: "b"}, full[:len(full)-20])
	refused("cut off in its first bytes", "cut off", ReceiveOptions{}, full[:12])
	refused("something else", "poolctl send writes", ReceiveOptions{}, []byte("hello"))
	refused("nothing", "cannot receive: it is empty", ReceiveOptions{}, nil)
	refused("a bad name", "name", ReceiveOptions{Name: "-r"}, full)
	_, err := s.Copy(ctx, CopyOptions{Source: "c1", Name: "other", InstanceOnly: true})
	ok(t, err)
	refused("without the parent", "receive that first: poolctl send c1/s0", ReceiveOptions{Name: "other"}, step)
	_, err = s.Receive(ctx, ReceiveOptions{Name: "r", Pool: "b"}, bytes.NewReader(full))
	ok(t, err)
	refused("damaged", "", ReceiveOptions{Name: "r"}, append(bytes.Clone(step[:len(step)-9]), bytes.Repeat([]byte{0}, 9)...))
	changed := diskRoot(t, s, "r") + "/changed"
	ok(t, os.WriteFile(changed, nil, 0o600))
	refused("changed", "1 path differs", ReceiveOptions{Name: "r"}, step)
	_, err = s.Receive(ctx, ReceiveOptions{Name: "r", Force: true}, bytes.NewReader(step))
	ok(t, err)
	if _, err := os.Lstat(changed); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("forced: %v", err)
	}
	refused("twice", "snapshot s1: already exists", ReceiveOptions{Name: "r"}, step)
	for what, o := range map[string]SendOptions{
		"none": {Instance: "none"}, "snapshot": {Instance: "c1", Snapshot: "none"}, "parent": {Instance: "c1", Parent: "none"},
		"itself": {Instance: "c1", Snapshot: "s0", Parent: "s0"}, "compression": {Instance: "c1", Compression: "xz"},
	} {
		if err := s.Send(ctx, o, &bytes.Buffer{}); err == nil {
			t.Errorf("sent: %s", what)
		}
	}
	if err := s.Send(ctx, SendOptions{Instance: "c1"}, closedPipe{}); !errors.Is(err, unix.EPIPE) {
		t.Errorf("a closed pipe: %v", err)
	}
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, unix.EPIPE }

// TestReceiveHostile: a stream is confined to what is staged, and a record opens nothing of the host.
func TestReceiveHostile(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	_, err := s.Create(ctx, CreateOptions{Name: "c1", Template: EmptyTemplate, Pool: "a", Config: map[string]string{"security.privileged": "true"}})
	ok(t, err)
	// A link in the place of the root filesystem.
	root := diskRoot(t, s, "c1")
	ok(t, os.RemoveAll(root), os.Symlink("/", root))
	raw := sendOf(t, s, SendOptions{Instance: "c1"})
	if _, err := s.Receive(ctx, ReceiveOptions{Name: "r", Pool: "b"}, bytes.NewReader(raw)); err == nil || !strings.Contains(err.Error(), "root filesystem") {
		t.Errorf("a link for a root: %v", err)
	}
	ok(t, os.Remove(root), os.Mkdir(root, 0o755), btrfs.Sync(root))
	_, err = s.Receive(ctx, ReceiveOptions{Name: "r", Pool: "b"}, bytes.NewReader(sendOf(t, s, SendOptions{Instance: "c1"})))
	ok(t, err)
	if rec := recordOf(t, s, "r"); isTrue(rec.Config["security.privileged"]) {
		t.Errorf("privileged: %v", rec.Config)
	}
}
