package pool

import (
	"context"

	"golang.org/x/sys/unix"
)

// limitVolume limits the volume at path, which may be on its way to its place, to
// the size that its configuration has. With keep, a limit that is exceeded
// already, or cannot be held, is no error: that is told.
func (s *System) limitVolume(ctx context.Context, p *openedPool, name, path string, config map[string]string, keep bool) error {
	size := int64(0)
	if v := config["size"]; v != "" {
		var err error
		if size, err = ParseSize(v); err != nil {
			return err
		}
	}
	switch {
	case size == 0:
		return p.SetLimit(ctx, path, 0)
	case keep:
		return s.keepLimit(ctx, p, "volume "+name, path, size)
	}
	return s.setLimit(ctx, p, "volume "+name, path, size)
}

// chmodAll is chmod(2) with the set-id and sticky bits where the kernel has them.
func chmodAll(path string, mode uint32) error { return unix.Chmod(path, mode) }
