package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStorageWording: whatever is wrong with what a command of pools is given, it says what it cannot do, with which object,
// and why, and changes nothing.
func TestStorageWording(t *testing.T) {
	h := newHost(t).withPool()
	h.ok("pool", "volume", "create", "default", "v")
	missing := filepath.Join(t.TempDir(), "not", "there")
	dir := t.TempDir()
	loop := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("a", 64)
	for _, c := range []struct {
		want string // the whole message, with the hint when there is one
		args []string
	}{
		{`cannot import ` + missing + `: no such file or directory`, []string{"pool", "volume", "import", "default", missing}},
		{`cannot import ` + dir + `: it is a directory`, []string{"pool", "volume", "import", "default", dir}},
		{`cannot import "": no such file or directory`, []string{"pool", "volume", "import", "default", ""}},
		{`cannot create pool "x": there is no directory ` + filepath.Dir(missing) + "\nhint: mkdir -p " + filepath.Dir(missing), []string{"pool", "create", "x", "source=" + missing}},
		{`cannot create pool "x": /etc/passwd/f: not a directory`, []string{"pool", "create", "x", "source=/etc/passwd/f"}},
		{`cannot create pool "x": ` + loop + `: too many levels of symbolic links`, []string{"pool", "create", "x", "source=" + loop}},
		{`cannot create pool "` + long + `": invalid pool name`, []string{"pool", "create", long}},
		{`cannot create pool "a b": invalid pool name`, []string{"admin", "init", "--auto", "--storage-pool", "a b"}},
		{`cannot find pool "": not found`, []string{"pool", "delete", ""}},
		{`cannot find pool "..": not found`, []string{"pool", "delete", "--force", ".."}},
		{`cannot find pool "é": not found`, []string{"pool", "detach", "é"}},
		{`cannot read nokey of pool default: unknown key "nokey"`, []string{"pool", "get", "default", "nokey"}},
		{`cannot inspect "": the path is empty`, []string{"pool", "inspect", ""}},
		{`cannot adopt "": the path is empty`, []string{"pool", "adopt", ""}},
		{`cannot mount pool default: ` + missing + `: no such file or directory`, []string{"pool", "mount", "default", missing}},
		{`cannot balance pool default: no balance is running or paused`, []string{"pool", "balance", "default", "--resume"}},
		{`cannot resize pool default: 1B is too small`, []string{"pool", "resize", "default", "1"}},
		{`cannot resize pool default: that is less than nothing`, []string{"pool", "resize", "default", "-9999GiB"}},
	} {
		h.leavesNothing(t, func() {
			if r := h.run(c.args...); r.code != 1 || !strings.HasPrefix(r.stderr, "error: "+c.want) {
				t.Errorf("want %q: %s", c.want, r)
			}
		})
	}
	h.leavesNothing(t, func() {
		r := h.runStdin("storage_pools:\n- nme: x\n", "admin", "init", "--preseed")
		if r.code != 1 || r.stderr != "error: cannot read the preseed: line 2: unknown field \"nme\"\n" {
			t.Errorf("a preseed with a field that there is not: %s", r)
		}
	})
	preseed := "storage_pools: [{name: pp, config: {size: 200MiB}}]\nprofiles: [{name: default, devices: {root: {path: /, pool: pp, type: disk}}}]\n"
	if r := h.runStdin(preseed, "admin", "init", "--preseed"); r.code != 0 || r.stderr != "" {
		t.Errorf("a pool that a preseed makes is told of as one that was there: %s", r)
	}
}
