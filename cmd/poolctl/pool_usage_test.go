package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolctl/btrfs"
	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func sampleUsage(exact bool) pool.PoolUsage {
	n := func(n uint64) *uint64 { return &n }
	u := pool.PoolUsage{
		Name: "p", File: &pool.FileInfo{Path: "/x/p.img", Size: 2 << 30, Allocated: 300 << 20}, Quota: "simple", Pending: 90 << 20,
		Usage: btrfs.Usage{
			Size: 2 << 30, Free: 1 << 30, Unallocated: 1 << 30, Data: btrfs.SpaceUsage{Allocated: 512 << 20, Used: 200 << 20, Profile: "single"},
			Metadata: btrfs.SpaceUsage{Allocated: 256 << 20, Used: 9 << 20, Profile: "dup"}, System: btrfs.SpaceUsage{Allocated: 8 << 20, Used: 16 << 10, Profile: "dup"},
		},
		Objects: []pool.ObjectUsage{
			{Type: "image", Name: "0123456789abcdef", Aliases: []string{"alpine"}, Owned: n(1 << 20)},
			{Type: "container", Name: "c10", Owned: n(2 << 20)},
			{Type: "container (snapshot)", Name: "c10/b", Owned: n(0)},
			{Type: "container (snapshot)", Name: "c10/a", Owned: n(0)},
			{Type: "container", Name: "c2", Owned: n(1500)},
			{Type: "pool", Owned: n(16 << 10)},
		},
	}
	if exact {
		u.Objects = u.Objects[4:]
		u.Deleting = 2
		u.Together = &pool.ByteCount{Total: 3 << 20, Data: 2 << 20, Metadata: 1 << 20}
		for i := range u.Objects {
			x := &pool.ExactUsage{Frees: &pool.ByteCount{Total: 3 << 20}, Files: pool.FileUsage{Total: 7, Exclusive: 3, SetShared: 4}}
			u.Objects[i].Referenced, u.Objects[i].Exclusive, u.Objects[i].Exact = n(5<<20), n(1<<20), x
		}
		u.Objects[1].Exact.Frees = nil
	}
	return u
}

const usageShown = `File:         /x/p.img
On the host:  300.00MiB allocated of 2.00GiB
Data:         200.00MiB used of 512.00MiB allocated (single)
Metadata:     9.00MiB used of 256.00MiB allocated (dup)
System:       16.00KiB used of 8.00MiB allocated (dup)
Unallocated:  1.00GiB of 2.00GiB
Free:         1.00GiB (estimated)
Not counted:  90.00MiB that are still being written

          TYPE                  NAME            OWNED    REFERENCED  EXCLUSIVE  
  image                 0123456789ab (alpine)  1.00MiB   -           -          
  container             c2                     1.46KiB   -           -          
  container             c10                    2.00MiB   -           -          
  container (snapshot)  c10/b                  0B        -           -          
  container (snapshot)  c10/a                  0B        -           -          
  pool                                         16.00KiB  -           -          
`

const usageShownExact = `File:         /x/p.img
On the host:  300.00MiB allocated of 2.00GiB
Data:         200.00MiB used of 512.00MiB allocated (single)
Metadata:     9.00MiB used of 256.00MiB allocated (dup)
System:       16.00KiB used of 8.00MiB allocated (dup)
Unallocated:  1.00GiB of 2.00GiB
Free:         1.00GiB (estimated)
Not counted:  90.00MiB that are still being written
Deleting:     2 subvolumes that are still being freed

+-----------+------+----------+------------+-----------+---------+-------+-----------------+------------------+
|   TYPE    | NAME |  OWNED   | REFERENCED | EXCLUSIVE |  FREES  | FILES | FILES EXCLUSIVE | FILES SET SHARED |
+-----------+------+----------+------------+-----------+---------+-------+-----------------+------------------+
| container | c2   | 1.46KiB  | 5.00MiB    | 1.00MiB   | 3.00MiB | 7B    | 3B              | 4B               |
+-----------+------+----------+------------+-----------+---------+-------+-----------------+------------------+
| pool      |      | 16.00KiB | 5.00MiB    | 1.00MiB   | -       | 7B    | 3B              | 4B               |
+-----------+------+----------+------------+-----------+---------+-------+-----------------+------------------+
Deleting these together frees 3.00MiB (data 2.00MiB, metadata 1.00MiB)
`

func TestPoolUsageFormats(t *testing.T) {
	for _, c := range []struct {
		format string
		exact  bool
		want   string
	}{
		{output.Compact, false, usageShown},
		{output.Table, true, usageShownExact},
		{output.CSV, true, "container,c2,1500,5242880,1048576,3145728,7,3,4\npool,,16384,5242880,1048576,-,7,3,4\n"},
	} {
		e, stdout, _ := testEnv(t)
		if err := e.writeUsage(c.format, c.exact, sampleUsage(c.exact)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, stdout()); diff != "" {
			t.Errorf("%s, exact %v:\n%s", c.format, c.exact, diff)
		}
	}
}
