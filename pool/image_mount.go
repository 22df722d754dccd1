package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/images"
	"poolctl/images/partition"
	"poolctl/loopdev"
)

// Mount shows the root file system of an instance or its snapshot (MountInstance),
// or of an image of a pool (by alias or fingerprint prefix), at dir. What is named
// like an instance is one; local:IMAGE is always an image.
func (s *System) Mount(ctx context.Context, ref, dir string, o MountOptions) (string, error) {
	var notFound error
	image, isImage := strings.CutPrefix(ref, localRemote+":")
	if !isImage {
		where, err := s.MountInstance(ctx, ref, dir, o)
		if !errors.Is(err, ErrNotFound) {
			return where, err
		}
		notFound = err
	}
	im, err := s.Image(ctx, image)
	if errors.Is(err, ErrNotFound) && notFound != nil {
		return "", notFound
	}
	if err == nil && o.Writable {
		err = errors.New("an image is read-only")
	}
	if err == nil {
		dir, err = s.mountImage(ctx, im, image, dir)
	}
	if err != nil {
		return "", fmt.Errorf("cannot mount image %s: %w", image, err)
	}
	return dir, nil
}

// mountImage shows the root of an image: of a container's its directory, of a
// virtual machine's the root partition of its disk. Nothing is written to either:
// no journal is replayed. Owners are those on disk; set-id programs and device
// nodes have no effect.
func (s *System) mountImage(ctx context.Context, im Image, ref, dir string) (string, error) {
	p, err := s.openPool(ctx, im.Pool)
	if err != nil {
		return "", err
	}
	defer func() { _ = p.close() }()
	unlock, err := s.lockImage(ctx, im.Fingerprint) // nobody deletes it meanwhile
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := p.Image(im.Fingerprint); err != nil {
		return "", err
	}
	volume := p.ImagePath(im.Fingerprint)
	return s.mountLook(ref, dir, func(place string) error {
		if im.Type == typeMachine {
			return mountDisk(ctx, filepath.Join(volume, images.DiskFile), im.Architecture, place)
		}
		return bindMount(filepath.Join(volume, "rootfs"), place, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_RDONLY)
	})
}

// mountDisk mounts the root partition of a raw disk at dir by a loop device that is
// read-only and ends with the mount. The kernel reads a file system there that may
// be made to attack it; all that is done about that is to write nothing, and to
// admit no kinds but those that roots are in.
func mountDisk(ctx context.Context, path, arch, dir string) (err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // read only
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is not a plain file", path)
	}
	part, kind, err := partition.Root(f, st.Size(), arch)
	if err != nil {
		return err
	}
	o := loopdev.AttachOptions{ReadOnly: true, NoDirectIO: true, SmallBlocks: true, Offset: uint64(part.Start), SizeLimit: uint64(part.Size)}
	dev, _, err := loopdev.Hold(ctx, path, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }() // the mount keeps it
	info, err := dev.Info()
	if err != nil {
		return err
	}
	if !info.ReadOnly || info.Offset != o.Offset || info.SizeLimit != o.SizeLimit {
		return withHint(fmt.Errorf("%w: its disk is attached as %s", ErrInUse, info.Path), "losetup -d %s", info.Path)
	}
	root, err := mountUntouched(info.Path, kind)
	if err != nil {
		return withHint(fmt.Errorf("partition %d (%s): %w", part.Number, kind, err), "dmesg | tail says what the kernel found")
	}
	defer func() { _ = root.Close() }() // the mount stays
	return attachMount(root, dir)
}

// mountUntouched mounts the file system on a device, nowhere, so that nothing is
// written and no journal is replayed (ext4(5), xfs(5), btrfs(5)).
func mountUntouched(device string, kind partition.Filesystem) (_ *os.File, err error) {
	if kind == partition.Btrfs {
		return btrfs.OpenUntouched(device)
	}
	options := []string{"ro", "noload"}
	if kind == partition.XFS {
		options = []string{"ro", "norecovery", "nouuid"}
	}
	fd, err := unix.Fsopen(string(kind), unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.FsconfigSetString(fd, "source", device); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	for _, o := range options {
		if err := unix.FsconfigSetFlag(fd, o); err != nil {
			return nil, fmt.Errorf("option %s: %w", o, err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, fmt.Errorf("cannot mount it: %w", err)
	}
	mnt, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	return os.NewFile(uintptr(mnt), device), nil
}

// diskLooks finds the mounts that mountDisk made, in a pool or with "" in all: those
// of loop devices on the disk of an image.
func (s *System) diskLooks(pool string) ([]look, error) {
	loops, err := loopdev.List()
	if err != nil {
		return nil, err
	}
	shown := map[string]string{} // device -> fingerprint
	for _, l := range loops {
		rel, ok := strings.CutPrefix(l.BackingFile, filepath.Join(s.dir.Root, "storage-pools")+"/")
		parts := strings.Split(rel, "/")
		if ok && len(parts) == 4 && (pool == "" || parts[0] == pool) && parts[1] == "images" && parts[3] == images.DiskFile {
			shown[l.Path] = parts[2]
		}
	}
	if len(shown) == 0 {
		return nil, nil
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return shown[m.Source] == "", false })
	if err != nil {
		return nil, fmt.Errorf("cannot list the mounts: %w", err)
	}
	var out []look
	for _, m := range mounts {
		out = append(out, look{ref: shown[m.Source], dir: m.Mountpoint})
	}
	return out, nil
}

// lookOfImage is the reference that a look has at the image named ref, its
// fingerprint; "" when there is no such image.
func (s *System) lookOfImage(ctx context.Context, ref string) (string, error) {
	im, err := s.Image(ctx, ref)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return im.Fingerprint, err
}
