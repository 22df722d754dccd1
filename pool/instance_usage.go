package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"poolctl/btrfs"
)

// AddDiskUsage fills in what the disks of instances take: the root disk and
// custom volumes, with what they share with an image or snapshots, as VolumeInfo
// tells of one. It is read from the file system at the moment.
func (s *System) AddDiskUsage(ctx context.Context, list []Instance) (err error) {
	pools := map[string]*openedPool{}
	defer func() {
		for _, p := range pools {
			err = errors.Join(err, p.close())
		}
	}()
	for i := range list {
		in := &list[i]
		if in.Problem != "" {
			continue
		}
		for _, device := range sortedKeys(in.ExpandedDevices) {
			dev := in.ExpandedDevices[device]
			if dev["type"] != "disk" || dev["pool"] == "" {
				continue
			}
			p := pools[dev["pool"]]
			if p == nil {
				if p, err = s.openPool(ctx, dev["pool"]); err != nil {
					if ctx.Err() != nil {
						return err
					}
					continue // a pool that is gone: what is wrong is told when it is started
				}
				pools[dev["pool"]] = p
			}
			usage, err := p.diskUsage(ctx, in.Name, dev)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("cannot tell what disk %s of %s takes: %w", device, in.Name, err)
			}
			if in.Disks == nil {
				in.Disks = map[string]DiskUsage{}
			}
			in.Disks[device] = usage
		}
	}
	return nil
}

func (p *openedPool) diskUsage(ctx context.Context, instance string, dev map[string]string) (u DiskUsage, err error) {
	path, size := p.InstancePath(instance), dev["size"]
	if !isRootDisk(dev) {
		name := customName(dev["source"])
		v, err := p.Volume(name)
		if err != nil {
			return u, err
		}
		path, size = p.VolumePath(name), v.Config["size"]
	}
	n, err := btrfs.Referenced(ctx, path)
	if err != nil {
		return u, err
	}
	u.Usage = int64(n)
	if total, err := ParseSize(size); err == nil {
		u.Total = total
	}
	return u, nil
}
