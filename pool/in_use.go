package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/holders"
	"poolctl/pool/state"
)

// named is how many processes an error names at most.
const named = 3

// checkUnused refuses a pool that is used in a way that this mount namespace and
// the state directory show, naming all that do. It returns the pool's own mount;
// nil when it is not mounted.
func (s *System) checkUnused(rec state.PoolRecord) (own *btrfs.Mount, err error) {
	mounts, err := s.poolMounts(rec)
	if err != nil {
		return nil, err
	}
	if own, err = s.ownMount(rec); err != nil {
		return nil, err
	}
	var users, remedies []string
	for _, m := range mounts {
		if m.MountPoint == s.dir.MountPoint(rec.Name) {
			continue
		}
		if rec.Kind == state.PoolDirectory && m.Root == "/" {
			continue // its file system stays mounted anyway
		}
		what, remedy := "it is mounted at "+m.MountPoint, "poolctl pool umount "+rec.Name+" "+m.MountPoint
		if own == nil {
			remedy = "umount " + m.MountPoint // whose mount it is
		}
		if ref := lookRef(m.Root); ref != "" {
			what, remedy = ref+" is mounted at "+m.MountPoint, "poolctl umount "+m.MountPoint
		} else if m.Root != "/" {
			what, remedy = m.Root+" of it is mounted at "+m.MountPoint, "umount "+m.MountPoint
		}
		users, remedies = append(users, what), append(remedies, remedy)
	}
	for _, ref := range s.offlineIn(rec.Name) {
		users, remedies = append(users, "a command runs in "+ref+" (exec --offline)"), append(remedies, "end it")
	}
	disks, err := s.diskLooks(rec.Name)
	if err != nil {
		return nil, err
	}
	for _, l := range disks {
		users, remedies = append(users, l.ref+" is mounted at "+l.dir), append(remedies, "poolctl umount "+l.dir)
	}
	if own != nil {
		running, err := s.runningIn(rec.Name)
		if err != nil {
			return nil, err
		}
		if len(running) > 0 {
			users = append(users, fmt.Sprintf("running instances: %v", running))
			remedies = append(remedies, "poolctl stop "+strings.Join(running, " "))
		}
	}
	if len(users) > 0 {
		return nil, withHint(fmt.Errorf("%w: %s", ErrInUse, strings.Join(users, "; ")), "%s", strings.Join(remedies, "; "))
	}
	return own, nil
}

// checkReleased waits until the kernel has let the file system of an unmounted
// pool go, and tells who keeps it when it does not: a mount in another mount
// namespace, or a process with a file open behind a lazy unmount.
func (s *System) checkReleased(ctx context.Context, rec state.PoolRecord) error {
	deadline := time.Now().Add(releaseWait)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		active, err := btrfs.ActiveOf(rec.UUID)
		if err != nil {
			return err
		}
		active = slices.DeleteFunc(active, func(a btrfs.Active) bool { return a.Temporary }) // a copy's
		if len(active) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return keptBy(rec, active[0])
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// keptBy is the refusal of a pool that others keep mounted.
func keptBy(rec state.PoolRecord, a btrfs.Active) error {
	names := slices.Collect(maps.Values(a.Devices))
	mounts, err := holders.Mounts(func(m holders.Mount) bool {
		return m.FSType == "btrfs" && slices.Contains(names, filepath.Base(m.Source))
	})
	if err != nil {
		return err
	}
	var users, remedies []string
	for _, m := range mounts {
		users, remedies = append(users, "it is mounted at "+m.String()), append(remedies, umountCommand(m))
	}
	if len(users) == 0 {
		procs, err := holders.Processes(named, func(l holders.Link) bool {
			return l.OnFS(func(st unix.Statfs_t) bool { return btrfs.IsOn(rec.UUID, st) })
		})
		if err != nil {
			return err
		}
		for _, p := range procs {
			users = append(users, "used by "+p.String())
		}
		remedies = []string{"end what uses it"}
	}
	if len(users) == 0 {
		users = []string{"the kernel keeps it mounted, for nobody that can be seen"}
	}
	return withHint(fmt.Errorf("%w: %s", ErrInUse, strings.Join(users, "; ")), "%s", strings.Join(remedies, "; "))
}

// umountCommand is what ends a mount, in whichever namespace.
func umountCommand(m holders.Mount) string {
	if m.PID == 0 {
		return "umount " + m.MountPoint
	}
	return fmt.Sprintf("nsenter -t %d -m umount %s", m.PID, m.MountPoint)
}

// unmountError tells why a mount cannot be ended, and by whom it is used.
func unmountError(mp string, err error) error {
	if !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("cannot unmount %s: %w", mp, err)
	}
	users := ""
	if by := busyBy(mp); len(by) > 0 {
		users = "; used by " + strings.Join(by, ", ")
	}
	return withHint(fmt.Errorf("cannot unmount %s: %w%s", mp, err, users), "close what is open in it")
}

// busyBy names what keeps a mount from being ended: what is mounted on it,
// processes with something of it open, and files in it that the kernel uses as a
// disk or for swapping. It is for an error message: what cannot be seen is left out.
func busyBy(mp string) []string {
	var users []string
	own, _ := holders.Own(func(m holders.Mount) bool { return m.MountPoint == mp })
	if len(own) == 0 {
		return nil
	}
	id := own[len(own)-1].ID // the topmost
	on, _ := holders.Own(func(m holders.Mount) bool { return m.Parent == id })
	for _, m := range on {
		users = append(users, "a mount at "+m.MountPoint)
	}
	procs, _ := holders.Processes(named, func(l holders.Link) bool { return l.OnMount(id) })
	if info, err := btrfs.FSInfo(mp); err == nil && len(procs) == 0 {
		// Through another mount of it, of a namespace that is unmounted together with this one.
		procs, _ = holders.Processes(named, func(l holders.Link) bool {
			return l.OnFS(func(st unix.Statfs_t) bool { return btrfs.IsOn(info.UUID, st) })
		})
	}
	for _, p := range procs {
		users = append(users, p.String())
	}
	loops, _ := loopdev.List()
	for _, l := range loops {
		if strings.HasPrefix(l.BackingFile, mp+"/") {
			users = append(users, l.Path+" on "+l.BackingFile)
		}
	}
	swaps, _ := os.ReadFile("/proc/swaps")
	for line := range strings.Lines(string(swaps)) {
		if file, _, _ := strings.Cut(line, " "); strings.HasPrefix(file, mp+"/") {
			users = append(users, "swapping to "+file)
		}
	}
	return users
}
