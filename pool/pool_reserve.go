package pool

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"poolctl/pool/state"
)

// reserveFile gives an image file all the blocks of its size, so that the host
// can be filled up without harm to the pool (fallocate(2)). What it lacks must
// be free; nothing is taken otherwise.
func reserveFile(f *os.File, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := needReserved(path, st.Size-st.Blocks*512); err != nil {
		return err
	}
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, st.Size)
	for errors.Is(err, unix.EINTR) {
		err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, st.Size)
	}
	if err == nil {
		return f.Sync()
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return withHint(fmt.Errorf("cannot reserve the space of %s: its file system cannot", path), "leave the pool's file sparse, or put it elsewhere")
	}
	return fmt.Errorf("cannot reserve the space of %s: %w", path, err)
}

// needReserved is the guard before a file is given so many bytes more of the host.
func needReserved(path string, missing int64) error {
	plan, err := planHost("", "reserving it", path, missing)
	if err == nil && plan.Problem != "" {
		plan.Hint = "make room there, choose a smaller size, or leave the pool's file sparse"
		err = plan.Err()
	}
	if err != nil {
		return fmt.Errorf("cannot reserve the space of %s: %w", path, err)
	}
	return nil
}

// applyReserve takes the space of a pool's file when reserve becomes true. When
// it no longer is, what the file has stays until it is trimmed.
func applyReserve(ctx context.Context, s *System, from, to state.PoolRecord) error {
	if !isTrue(from.Config["reserve"]) && isTrue(to.Config["reserve"]) {
		if _, lost := s.ownFile(to); lost != nil {
			return lost
		}
		f, err := os.OpenFile(to.Source, os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(reserveFile(f, to.Source), f.Close()); err != nil {
			return err
		}
	}
	return applyMountOptions(ctx, s, from, to)
}
