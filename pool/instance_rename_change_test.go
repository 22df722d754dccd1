package pool

import (
	"errors"
	"os"
	"os/signal"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// TestRenameChangesInOneStep: what a rename changes besides is in its intent, and made wherever it was killed, once.
func TestRenameChangesInOneStep(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	for _, kill := range []string{"at its begin", "before the record", "after the record"} {
		t.Run(kill, func(t *testing.T) {
			_, err := s.Create(ctx, CreateOptions{Name: "c1", Template: EmptyTemplate, Pool: "p", Profiles: []string{}, Config: map[string]string{"user.a": "0"}})
			ok(t, err)
			p, rec, err := s.findInstance(ctx, "c1")
			ok(t, err)
			o := MoveOptions{Config: map[string]string{"user.a": "1"}, DeviceOverrides: map[string]map[string]string{"root": {"size": "100MiB"}}}
			c, unlock, err := s.renamedWith(ctx, &lockedInstance{openedPool: p, rec: rec}, o.change(s))
			ok(t, err)
			unlock()
			in := renaming{Pool: "p", From: "c1", To: "c2", Change: &renamedChange{c.was, c.now}}
			if kill != "at its begin" {
				ok(t, p.RenameInstance("c1", "c2"))
			}
			if kill == "after the record" {
				_, err := p.UpdateInstance("c2", func(r *tree.Instance) error { c.put(r); return s.reexpand(r) })
				ok(t, err)
			}
			ok(t, p.close())
			lostEntry(t, s, opRename, in)
			openAgain(t, s)
			got := recordOf(t, s, "c2")
			if got.Config["user.a"] != "1" || got.ExpandedConfig["user.a"] != "1" || got.ExpandedDevices["root"]["size"] != "100MiB" {
				t.Errorf("the change is lost: %+v", got)
			}
			if _, err := s.Instance(ctx, "c1"); err == nil {
				t.Error("it is there under its old name")
			}
			if left, err := os.ReadDir(s.journalDir()); err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, err)
			}
			ok(t, s.Delete(ctx, "c2", false))
		})
	}
}

// TestRefusedRenameKeepsLogs: the logs of an instance are not removed by a rename to its name, which is refused.
func TestRefusedRenameKeepsLogs(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	addInstance(t, s, "p", "c1")
	writeLogs(t, s, "c2") // as of an instance that is being made
	in := recordOf(t, s, "c1")
	ok(t, s.checkRenamed(t.Context(), in, "c2"))
	if err := s.MoveInstance(t.Context(), MoveOptions{Source: "c1", Name: "c2", Config: map[string]string{"no.such": "1"}}); err == nil {
		t.Error("a key that is none was taken")
	}
	if log, err := s.InstanceLog("c2"); err != nil || log == "" {
		t.Errorf("the log is %q, %v", log, err)
	}
}

// TestMoveKeepsSnapshotsInTrash: snapshots that a move leaves out are in the trash.
func TestMoveKeepsSnapshotsInTrash(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	_, err := s.Create(ctx, CreateOptions{Name: "c1", Template: EmptyTemplate, Pool: "a", Profiles: []string{}})
	ok(t, err)
	_, err = s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s0"})
	ok(t, err, s.MoveInstance(ctx, MoveOptions{Source: "c1", Pool: "b", InstanceOnly: true}))
	_, err = s.Undelete(ctx, UndeleteOptions{Name: "c1", NewName: "old"})
	ok(t, err)
	moved, old := recordOf(t, s, "c1"), recordOf(t, s, "old")
	if len(moved.Snapshots) != 0 || len(old.Snapshots) != 1 || moved.Config["volatile.uuid"] == old.Config["volatile.uuid"] {
		t.Errorf("moved: %+v, old: %+v", moved, old)
	}
	ok(t, s.MoveInstance(ctx, MoveOptions{Source: "c1", Pool: "a", InstanceOnly: true}))
	if left, err := s.Trash(ctx, TrashQuery{Pool: "b"}); err != nil || len(left) != 0 {
		t.Errorf("one without snapshots is in the trash: %+v, %v", left, err)
	}
}

// TestDeletePoolWithBadNetwork: a network that cannot be read keeps no pool from being deleted.
func TestDeletePoolWithBadNetwork(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	ok(t, s.dir.SaveNetwork(state.NetworkRecord{Name: "bad"}))
	ok(t, os.WriteFile(s.dir.Root+"/networks/bad.json", []byte("{"), 0o600))
	if _, err := s.dir.LoadNetwork("bad"); err == nil {
		t.Fatal("the network can be read")
	}
	rec, err := s.dir.LoadPool("p")
	ok(t, err, s.DetachPool(t.Context(), "p"))
	in, err := s.deletion(rec)
	ok(t, err)
	in.Left = leftBehind{Reserved: map[string]string{"00:16:3e:00:00:01": "bad"}}
	ok(t, s.finishDelete(t.Context(), in))
	if _, err := s.dir.LoadPool("p"); err == nil {
		t.Error("the pool is still there")
	}
}

// TestMachineIDIsCutLast: a machine id is written over the old one, which stays when it cannot be written, and of which nothing is
// left when it can.
func TestMachineIDIsCutLast(t *testing.T) {
	dir := t.TempDir()
	file := dir + "/rootfs/etc/machine-id"
	ok(t, os.MkdirAll(dir+"/rootfs/etc", 0o755), os.WriteFile(file, []byte(machineID+strings.Repeat(" ", 31)+"\n"), 0o600))
	id := newMachineID()
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var was unix.Rlimit
	ok(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &was))
	ok(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 0, Max: was.Max}))
	err := renewMachineID(dir, id)
	ok(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &was))
	if !errors.Is(err, unix.EFBIG) {
		t.Errorf("it was written: %v", err)
	}
	if raw, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(raw), machineID) {
		t.Errorf("the old one is lost: %q, %v", raw, err)
	}
	ok(t, renewMachineID(dir, id))
	if raw, err := os.ReadFile(file); err != nil || string(raw) != id+"\n" {
		t.Errorf("%q, %v", raw, err)
	}
}
