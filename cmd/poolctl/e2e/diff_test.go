package e2e

import (
	"testing"
	"time"
)

// TestDiff: what differs between snapshots, the present of an instance that runs, and another instance.
func TestDiff(t *testing.T) {
	h := opHost(t)
	h.ok("init", "bb", "c1")
	mark(h, "c1", "old")
	h.ok("snapshot", "create", "c1", "a")
	h.ok("copy", "c1/a", "c2")
	mark(h, "c1", "newer")
	h.ok("file", "create", "c1/root/odd\nname\xff", "--type", "file")
	h.ok("snapshot", "create", "c1", "b")
	h.ok("start", "c1")
	h.ok("exec", "c1", "--", "sh", "-c", "mv /root/mark /root/sign; chmod 600 /root/sign; chown 7:8 /root/sign")

	type file struct {
		Path, From, Change string
		What               []string
		PathBase64         string `json:"path_base64"`
		Before, After      *struct {
			Type, Mode string
			UID, GID   int
			Size       int64
		}
	}
	find := func(path string, args ...string) file {
		t.Helper()
		var list []file
		h.json(&list, append([]string{"diff"}, args...)...)
		for _, f := range list {
			if f.Path == path {
				return f
			}
		}
		t.Fatalf("%q: %s is not in %+v", args, path, list)
		return file{}
	}
	if f := find("/root/mark", "c1/a", "c1/b"); f.Change != "modified" || f.Before.Size != 4 || f.After.Size != 6 || f.After.Type != "file" {
		t.Errorf("%+v", f)
	}
	if f := find(`"/root/odd\nname\xff"`, "c1/a", "b"); f.Change != "added" || f.PathBase64 == "" {
		t.Errorf("%+v", f)
	}
	if f := find("/root/sign", "c1/b"); f.Change != "renamed" || f.From != "/root/mark" || f.After.UID != 7 || f.After.GID != 8 || f.After.Mode != "0600" || f.Before.UID != 0 {
		t.Errorf("%+v", f)
	}
	if f := find("/root/mark", "c2", "c1/b"); f.Change != "modified" {
		t.Errorf("%+v", f)
	}
	h.matches(`modified +\| /root/mark +\| 4B -> 6B +\| content`, "diff", "c1/a", "c1/b")
	h.matches(`added +\| "/root/odd\\nname\\xff" +\| 0B`, "diff", "c1/a", "c1/b")
	h.matches(`(?m)^renamed,/root/mark -> /root/sign,6B,"mode 0644 -> 0600, owner 0:0 -> 7:8"$`, "diff", "c1/b", "c1", "-f", "csv")
	h.matches(`(?m)^modified,1,4B,6B$`, "diff", "c1/a", "c1/b", "--stat", "-f", "csv")
	h.matches(`^\[\]\n$`, "diff", "c1/a", "c1/a", "-f", "json")

	began := time.Now()
	h.ok("diff", "c1/a", "--stat")
	t.Logf("with the start of the program and a snapshot of the present: %v", time.Since(began))
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{2, `compared with`, []string{"diff", "c1"}},
		{1, `c1/nope: not found\nhint: .*snapshot list c1`, []string{"diff", "c1/nope"}},
		{1, `c1/nope: not found`, []string{"diff", "c1/a", "nope"}},
		{1, `names no snapshot`, []string{"diff", "c1/", "a"}},
		{1, `"nobody": not found`, []string{"diff", "nobody/a"}},
	} {
		h.fails(c.code, c.want, c.args...)
	}
	h.ok("delete", "--force", "c1", "c2")
	if left := strays(t, h); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}
