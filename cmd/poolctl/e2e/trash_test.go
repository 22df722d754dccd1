package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// trashOps are the ways out of the trash; the ways in are those of the commands that delete.
func trashOps() []op {
	ensure := func(h *host) {
		ensure1(h)
		h.ok("trash", "empty")
		h.ok("delete", "c1")
	}
	verify := func(h *host) {
		if has1(h) {
			works(h, "c1", `^(old|new)\n$`)
			h.ok("delete", "--now", "c1")
		}
		h.ok("trash", "empty")
	}
	return []op{
		{name: "undelete", args: []string{"undelete", "c1"}, prepare: ensure, made: has1, verify: func(h *host) {
			if !has1(h) {
				h.ok("undelete", "c1")
			}
			verify(h)
		}},
		{name: "trash empty", args: []string{"trash", "empty"}, prepare: ensure, verify: func(h *host) {
			if r := h.run("undelete", "c1"); r.code != 0 {
				h.failed(r, 1, "not found")
			}
			verify(h)
		}},
	}
}

// trashed is a row of `trash list`.
type trashed struct {
	Name, Type, Pool, Problem string
	Size, Snapshots           int
	DeletedAt, ExpiresAt      time.Time
}

func (h *host) trash(args ...string) []trashed {
	h.t.Helper()
	var raw []struct {
		Name, Type, Pool, Problem string
		Size, Snapshots           int
		DeletedAt                 time.Time `json:"deleted_at"`
		ExpiresAt                 time.Time `json:"expires_at"`
	}
	h.json(&raw, append([]string{"trash", "list"}, args...)...)
	out := make([]trashed, len(raw))
	for i, r := range raw {
		out[i] = trashed(r)
	}
	return out
}

// TestTrash deletes each kind of thing, has it back as it was, and lets it go by name, by age, and for want of room.
func TestTrash(t *testing.T) {
	h := opHost(t)
	h.ok("launch", "bb", "c1", "-d", "root,size=200MB", "-c", "user.k=v")
	h.ok("exec", "c1", "--", "sh", "-c", "echo old > /root/mark; dd if=/dev/urandom of=/root/data bs=1M count=8")
	h.ok("snapshot", "create", "c1", "s1", "--expiry", "2099-01-01")
	h.fails(1, "running", "delete", "c1")
	h.ok("stop", "--force", "c1")
	before, limit := h.ok("config", "show", "c1"), h.limitOf("c1")

	h.ok("delete", "c1")
	h.fails(1, "not found", "config", "show", "c1")
	if all := h.trash(); len(all) != 1 || all[0].Name != "c1" || all[0].Type != "container" || all[0].Pool != "default" || all[0].Snapshots != 1 ||
		all[0].Size < 8<<20 || all[0].ExpiresAt.Sub(all[0].DeletedAt).Round(time.Hour) < 6*24*time.Hour {
		t.Errorf("%+v", all)
	}
	h.matches(`(?m)^\| c1 +\| container +\| default +\| \d+\.\d+MiB +\|`, "trash", "list")
	h.matches(`(?m)^\| trash +\| +\| \d`, "pool", "usage", "default")
	h.matches(`c1,container,default,\d+,`, "undelete", "--format", "csv")
	h.ok("undelete", "c1")
	if after := h.ok("config", "show", "c1"); after != before || h.limitOf("c1") != limit {
		t.Errorf("before:\n%s\nafter:\n%s\nlimit %d, now %d", before, after, limit, h.limitOf("c1"))
	}
	h.matches(`2099`, "snapshot", "list", "c1")
	works(h, "c1", `^old\n$`)

	h.trashNames(t)
	h.trashSnapshots(t)
	h.trashVolumes(t)
	h.trashImages(t)
	h.trashGoes(t)
}

// trashNames is about names that are taken by now.
func (h *host) trashNames(t *testing.T) {
	t.Helper()
	mac := strings.TrimSpace(h.ok("config", "get", "c1", "volatile.eth0.hwaddr"))
	h.ok("delete", "c1")
	h.ok("init", "bb", "c1", "-c", "volatile.eth0.hwaddr="+mac)
	h.ok("start", "c1")
	h.fails(1, `already exists(.|\n)*undelete c1 NEWNAME`, "undelete", "c1")
	if r := h.run("undelete", "c1", "c2"); r.code != 0 || !strings.Contains(r.stderr, mac+" is that of c1 by now") || !strings.Contains(r.stderr, "c1 is back as c2") {
		t.Errorf("%s", r)
	}
	h.ok("start", "c2")
	h.matches(`^old\n$`, "exec", "c2", "--", "cat", "/root/mark")
	if now := strings.TrimSpace(h.ok("config", "get", "c2", "volatile.eth0.hwaddr")); now == mac || now == "" {
		t.Errorf("%s has the hardware address %s", "c2", now)
	}
	h.ok("delete", "--force", "--now", "c1")
	h.ok("stop", "--force", "c2")
	h.ok("rename", "c2", "c1")
	h.fails(1, `not found`, "undelete", "nobody")
	h.fails(1, `unknown type "vm"`, "undelete", "--type", "vm", "c1")
	if all := h.trash(); len(all) != 0 {
		t.Errorf("in the trash: %+v", all)
	}
	h.ok("launch", "bb", "e1", "--ephemeral")
	h.ok("delete", "--force", "e1")
	if all := h.trash(); len(all) != 0 {
		t.Errorf("an ephemeral instance is in the trash: %+v", all)
	}
}

func (h *host) trashSnapshots(t *testing.T) {
	t.Helper()
	before := h.ok("snapshot", "list", "c1", "--format", "json")
	h.ok("snapshot", "delete", "c1/s1")
	h.ok("undelete", "c1/s1")
	if after := h.ok("snapshot", "list", "c1", "--format", "json"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	h.ok("delete", "c1/s1")
	h.ok("undelete", "c1/s1", "s2")
	h.ok("delete", "c1/s2")
	h.ok("delete", "c1")
	h.fails(1, `instance c1 is not there(.|\n)*poolctl undelete c1 brings`, "undelete", "c1/s2")
	h.ok("undelete", "c1")
	h.ok("undelete", "c1/s2")
	h.ok("snapshot", "restore", "c1", "s2")
	works(h, "c1", `^old\n$`)
	h.sh("sh", "-c", `cd "$0" && for i in $(seq 100); do btrfs -q subvolume snapshot -r containers/c1 containers-snapshots/c1/n$i; done`, h.attached())
	if r := h.run("delete", "c1"); r.code != 0 || r.took > 500*time.Millisecond {
		t.Errorf("an instance with 101 snapshots: %s, %s", r.took, r)
	}
	h.ok("undelete", "c1")
	if n := len(h.names("snapshot", "list", "c1")); n != 101 {
		t.Errorf("%d snapshots", n)
	}
	h.ok("delete", "--now", "c1")
}

func (h *host) trashVolumes(t *testing.T) {
	t.Helper()
	h.ok("pool", "volume", "create", "default", "v1", "user.k=v")
	h.ok("pool", "volume", "snapshot", "create", "default", "v1", "s1", "--expiry", "2099-01-01")
	before := h.ok("pool", "volume", "show", "default", "v1") + h.ok("pool", "volume", "snapshot", "show", "default", "v1/s1")
	h.ok("pool", "volume", "delete", "default", "v1/s1")
	h.ok("undelete", "v1/s1")
	h.ok("pool", "volume", "delete", "default", "v1")
	h.ok("undelete", "v1")
	if after := h.ok("pool", "volume", "show", "default", "v1") + h.ok("pool", "volume", "snapshot", "show", "default", "v1/s1"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	h.ok("pool", "volume", "delete", "default", "v1")
	h.ok("init", "bb", "v1")
	h.ok("delete", "v1")
	h.fails(1, `called so(.|\n)*--type`, "undelete", "v1")
	h.fails(1, `not found`, "undelete", "--type", "image", "v1")
	h.ok("undelete", "--type", "custom", "v1") // as lists have it
	h.ok("pool", "volume", "delete", "default", "v1")
	h.ok("undelete", "--type", "volume", "v1")
	h.ok("pool", "volume", "delete", "--now", "default", "v1")
	h.ok("trash", "empty", "v1")
	if all := h.trash(); len(all) != 0 {
		t.Errorf("in the trash: %+v", all)
	}
}

func (h *host) trashImages(t *testing.T) {
	t.Helper()
	h.ok("image", "alias", "create", "other", "bb")
	before := h.ok("image", "show", "bb")
	h.ok("image", "delete", "bb")
	h.fails(1, "not found", "image", "show", "bb")
	h.ok("undelete", "bb")
	if after := h.ok("image", "show", "bb"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	h.ok("image", "delete", "bb")
	h.ok("image", "pull", "m:alpine", "--alias", "other")
	if r := h.run("undelete", "bb"); r.code != 0 || !strings.Contains(r.stderr, "alias other is that of another image by now") {
		t.Errorf("%s", r)
	}
	h.ok("image", "alias", "delete", "other")
	h.ok("launch", "bb", "c1")
	h.ok("delete", "--force", "--now", "c1")
}

// trashGoes is about what goes from the trash.
func (h *host) trashGoes(t *testing.T) {
	t.Helper()
	trash := filepath.Join(h.attached(), ".poolctl/trash")
	h.ok("init", "bb", "old")
	h.ok("init", "bb", "new")
	h.ok("delete", "old")
	cans, err := filepath.Glob(trash + "/can-*")
	if err != nil || len(cans) != 1 {
		t.Fatalf("%v, %v", cans, err)
	}
	at := time.Now().Add(-8 * 24 * time.Hour).UnixNano()
	if err := os.Rename(cans[0], regexp.MustCompile(`can-\d+`).ReplaceAllString(cans[0], fmt.Sprint("can-", at))); err != nil {
		t.Fatal(err)
	}
	h.ok("trash", "empty", "--older-than", "9d")
	h.ok("pool", "set", "default", "trash.expiry=never")
	h.ok("admin", "expire")
	h.ok("delete", "new")
	if all := h.trash(); len(all) != 2 || !all[0].ExpiresAt.IsZero() {
		t.Errorf("%+v", all)
	}
	h.ok("pool", "unset", "default", "trash.expiry")
	if r := h.run("admin", "expire"); r.code != 0 || !strings.Contains(r.stderr, "default/old deleted from the trash") || strings.Contains(r.stderr, "default/new") {
		t.Errorf("%s", r)
	}
	h.fails(1, `not found`, "trash", "empty", "old")
	h.fails(1, `"soon" is no time`, "trash", "empty", "--older-than", "soon")
	h.fails(1, `not a span`, "pool", "set", "default", "trash.expiry=soon")

	if err := os.Mkdir(trash+"/can-1-0-00", 0o700); err != nil {
		t.Fatal(err)
	}
	if r := h.run("doctor"); r.code != 1 || !strings.Contains(r.stdout, "can-1-0-00 in its trash cannot be undeleted") {
		t.Errorf("%s", r)
	}
	h.ok("trash", "empty")
	if all := h.trash(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	h.ok("pool", "set", "default", "trash.expiry=off")
	h.ok("init", "bb", "new")
	h.ok("delete", "new")
	h.fails(1, "not found", "undelete", "new")

	h.ok("pool", "create", "small", "size=700MiB")
	h.ok("pool", "volume", "create", "small", "big")
	h.ok("pool", "volume", "create", "small", "last")
	file, err := os.Create(filepath.Join(h.state, "storage-pools/small/custom/default_big/data"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(make([]byte, 450<<20)); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	h.ok("pool", "volume", "delete", "small", "big")
	h.ok("pool", "volume", "delete", "small", "last")
	if r := h.run("pool", "resize", "small", "480MiB"); r.code != 0 || !strings.Contains(r.stderr, "big, deleted at") {
		t.Errorf("%s", r)
	}
	if all := h.trash("--pool", "small"); len(all) != 1 || all[0].Name != "last" {
		t.Errorf("%+v", all)
	}
	h.ok("pool", "delete", "small") // nothing is in it but its trash
}
