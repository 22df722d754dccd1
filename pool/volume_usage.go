package pool

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"poolctl/btrfs"
	"poolctl/pool/tree"
)

// VolumesUsed says what volumes of a pool, as Volumes lists them, reference in
// bytes, with what they share: as VolumeInfo tells of one. -1 is for what has no
// usage of its own to tell, as in Incus: images, and snapshots.
func (s *System) VolumesUsed(ctx context.Context, pool string, volumes []Volume) (used []int64, err error) {
	p, err := s.openPool(ctx, pool)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, v := range volumes {
		n := int64(-1)
		if path := p.volumePathOf(v); path != "" {
			referenced, err := btrfs.Referenced(ctx, path)
			if err == nil {
				n = int64(referenced)
			} else if !errors.Is(err, fs.ErrNotExist) { // deleted meanwhile
				return nil, err
			}
		}
		used = append(used, n)
	}
	return used, nil
}

// volumePathOf is where a volume is whose usage is told; "" for the others.
func (p *openedPool) volumePathOf(v Volume) string {
	switch {
	case strings.Contains(v.Name, "/"):
		return ""
	case v.Type == volumeCustom && v.Project == tree.DefaultProject:
		return p.VolumePath(v.Name)
	case v.Type == volumeContainer:
		return p.InstancePath(v.Name)
	}
	return ""
}
