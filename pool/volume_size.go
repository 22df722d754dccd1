package pool

import (
	"context"

	"golang.org/x/sys/unix"
)

// limitVolume limits the volume at path to the size that its configuration has.
// With keep, a limit that is exceeded already is no error: that is told.
func (s *System) limitVolume(ctx context.Context, p *openedPool, path string, config map[string]string, keep bool) error {
	return ctx.Err()
}

// chmodAll is chmod(2) with the set-id and sticky bits where the kernel has them.
func chmodAll(path string, mode uint32) error { return unix.Chmod(path, mode) }
