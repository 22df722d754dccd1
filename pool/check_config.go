package pool

import (
	"context"

	"golang.org/x/sys/unix"

	"poolctl/pool/checkconfig"
)

// CheckConfig says what the host's kernel has of what poolctl needs. Idmapped
// mounts are tried on a pool that is attached, if there is one.
func (s *System) CheckConfig(ctx context.Context) (checkconfig.Report, error) {
	pools, err := s.dir.ListPools()
	if err != nil {
		return checkconfig.Report{}, err
	}
	mounted := ""
	for _, p := range pools {
		var st unix.Statfs_t
		if mp := s.dir.MountPoint(p); unix.Statfs(mp, &st) == nil && st.Type == unix.BTRFS_SUPER_MAGIC {
			mounted = mp
		}
	}
	return checkconfig.Run(ctx, mounted)
}
