package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNodes gives an instance device nodes when it starts, while it runs and over
// a reboot, and takes them away with what they allow.
func TestNodes(t *testing.T) {
	ids := testSpec(t, t.TempDir())
	for name, spec := range map[string]func(*testing.T, string) Spec{
		"own ids":    func(t *testing.T, root string) Spec { return testSpec(t, root) },
		"privileged": privileged,
	} {
		t.Run(name, func(t *testing.T) {
			root := busyboxRoot(t)
			if err := os.Symlink("/etc", filepath.Join(root, "out")); err != nil {
				t.Fatal(err)
			}
			s := spec(t, root)
			// btrfs-control is none of the devices that all have.
			control := Node{Type: 'c', Major: 10, Minor: 234, Mode: 0o640, GID: 4}
			s.Disks = []Disk{
				{Device: "zero", Source: "/dev/zero", Path: "/dev/sub/nought", Node: Node{Type: 'c', Major: 1, Minor: 5, Mode: 0o606, UID: 7}},
				{Device: "log", Source: "/dev/btrfs-control", Path: "/out/log", Node: control},
			}
			inst := start(t, s)
			ok(t, inst, `stat -c "%F %t:%T %a %u:%g" /dev/sub/nought /etc/log; head -c 3 /dev/sub/nought | wc -c; : < /etc/log`,
				"character special file 1:5 606 7:0\ncharacter special file a:ea 640 0:4\n3\n")
			again := `[ -e /dev/k ] || mknod /dev/k c 10 234; : < /dev/k` // by another node, were the rule still there
			if err := inst.DetachDisk("log"); err != nil {
				t.Fatal(err)
			}
			refused(t, inst, `: < /etc/log`)
			refused(t, inst, again)
			ok(t, inst, `ls /etc/log 2>/dev/null | wc -l; head -c 3 /dev/sub/nought | wc -c`, "0\n3\n")

			hot := Disk{Device: "hot", Source: "/dev/btrfs-control", Path: "/dev/hot", Node: control}
			if err := inst.AttachDisk(t.Context(), hot); err != nil {
				t.Fatal(err)
			}
			ok(t, inst, `: < /dev/hot; stat -c "%t:%T %a %u:%g" /dev/hot`, "a:ea 640 0:4\n")
			// What has it open keeps it, and nobody from taking it away.
			ok(t, inst, `sleep 1000 </dev/hot >/dev/null 2>&1 & :`, "")
			if err := errors.Join(inst.DetachDisk("hot"), inst.DetachDisk("hot")); err != nil {
				t.Fatal(err)
			}
			refused(t, inst, `ls /dev/hot`)
			refused(t, inst, again)
			if err := inst.AttachDisk(t.Context(), hot); err != nil {
				t.Fatal(err)
			}
			run(t, inst, "", "reboot", "-f") // its exit code depends on who is killed first
			inst = afterReboot(t, s, inst)
			ok(t, inst, `: < /dev/hot; head -c 3 /dev/sub/nought | wc -c; ls /etc/log 2>/dev/null | wc -l`, "3\n0\n")

			bad := hot
			bad.Device, bad.Path, bad.Node.Minor = "bad", "/etc", 237
			if err := inst.AttachDisk(t.Context(), bad); err == nil {
				t.Error("a node on a directory")
			}
			disks, err := inst.Disks()
			if err != nil || len(disks) != 2 {
				t.Errorf("%+v, %v", disks, err)
			}
			refused(t, inst, `[ -e /dev/k12 ] || mknod /dev/k12 c 10 237; : < /dev/k12`)
		})
	}
	bad := Disk{Device: "x", Source: "/dev/x", Path: "/dev/x", Node: Node{Type: 'c', Major: 1, Minor: 5}}
	for what, change := range map[string]func(*Node){
		"type":     func(n *Node) { n.Type = 'p' },
		"mode":     func(n *Node) { n.Mode = 0o4600 },
		"major":    func(n *Node) { n.Major = 4096 },
		"any":      func(n *Node) { n.Minor = -1 },
		"no owner": func(n *Node) { n.UID = 1<<32 - 2 },
	} {
		d := bad
		change(&d.Node)
		merr := d.Node.hold(-1, "d0", ids.UIDMap, ids.GIDMap)
		if err := d.validate(); err == nil && (what != "no owner" || merr == nil || !strings.Contains(merr.Error(), "no user")) {
			t.Errorf("%s: %v, %v", what, err, merr)
		}
	}
}
