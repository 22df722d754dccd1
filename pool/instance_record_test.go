package pool

import (
	"testing"

	"poolctl/pool/state"
)

// TestPoolInfoSource: the source of a pool is one that LXD finds it by when it was recovered and LXD starts again.
func TestPoolInfoSource(t *testing.T) {
	for _, c := range []struct{ kind, source, want string }{
		{state.PoolFile, "/var/lib/poolctl/disks/p.img", "/var/lib/lxd/disks/p.img"},
		{state.PoolFile, "/mnt/x.img", "/var/lib/lxd/disks/p.img"},
		{state.PoolFile, "/var/snap/lxd/common/lxd/disks/p.img", "/var/snap/lxd/common/lxd/disks/p.img"},
		{state.PoolDevice, "/dev/sdb", "/dev/sdb"},
		{state.PoolDirectory, "/srv/p", "/srv/p"},
	} {
		rec := state.PoolRecord{Name: "p", Kind: c.kind, Source: c.source, Config: map[string]string{"source": c.source, "size": "1GiB"}}
		if info := poolInfo(rec); info.Config["source"] != c.want || info.Config["size"] != "1GiB" || rec.Config["source"] != c.source {
			t.Errorf("%s: %v, and the pool has %v", c.source, info.Config, rec.Config)
		}
	}
}
