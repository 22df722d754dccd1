package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

// makePoolFile makes the sparse file without a name, formats it and then links
// it to its path: a process killed before that leaves nothing at all.
func makePoolFile(ctx context.Context, entry *journal.Entry, intent *creating, plan poolPlan) error {
	dir := filepath.Dir(intent.Path)
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	named := errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR)
	if named { // no O_TMPFILE here (NFS, some FUSE): the intent covers the name
		f, err = os.OpenFile(intent.Path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	intent.Dev, intent.Inode = st.Dev, st.Ino
	if err := entry.Update(*intent); err != nil {
		return err
	}
	if err := f.Truncate(plan.size); errors.Is(err, unix.EFBIG) {
		return withHint(err, "the file system there has files of %s at most", FormatSize(largestFile(f, plan.size)))
	} else if err != nil {
		return err
	}
	if isTrue(plan.rec.Config["reserve"]) {
		if err := reserveFile(f, intent.Path); err != nil {
			return err
		}
	}
	if err := btrfs.Mkfs(ctx, intent.Path, f, btrfs.MkfsOptions{Label: plan.rec.Name, ExtraArgs: plan.mkfs}); err != nil {
		return err
	}
	crash.Point("pool.create.formatted")
	if err := f.Sync(); err != nil {
		return err
	}
	if !named {
		fd := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
		if err := unix.Linkat(unix.AT_FDCWD, fd, unix.AT_FDCWD, intent.Path, unix.AT_SYMLINK_FOLLOW); err != nil {
			return fmt.Errorf("%s: %w", intent.Path, err)
		}
	}
	return syncDir(dir)
}

// largestFile is how large a file can become, in whole MiB, that cannot become
// tooLarge: tried with the file itself, which has another length afterwards.
func largestFile(f *os.File, tooLarge int64) int64 {
	most := sort.Search(int(tooLarge>>20), func(n int) bool { return f.Truncate(int64(n+1)<<20) != nil })
	return int64(most) << 20
}
