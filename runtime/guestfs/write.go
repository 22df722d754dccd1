package guestfs

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Owner is who is to own a file, and how it may be used; nil leaves what is there
// as it is, and gives something new to root: 0644, directories 0755.
type Owner struct {
	UID, GID *uint32
	Mode     *fs.FileMode // permissions, set-id and sticky bits
}

// over is the owner with what is there, or the default, in place of nil.
func (o Owner) over(there *Info, mode fs.FileMode) (uid, gid uint32, m fs.FileMode) {
	m = mode
	if there != nil {
		uid, gid, m = there.UID, there.GID, there.Mode
	}
	if o.UID != nil {
		uid = *o.UID
	}
	if o.GID != nil {
		gid = *o.GID
	}
	if o.Mode != nil {
		m = *o.Mode
	}
	return uid, gid, m
}

// WriteFile makes a file of what from gives, until ctx ends, or replaces one: whoever opens it
// meanwhile, or after this was killed, finds the old content or the new one. A
// symbolic link at the end of the path is followed. A file that has several names,
// or that something is mounted upon, cannot be replaced: it is written in place. Of a
// regular file holes stay holes.
func (r *Root) WriteFile(ctx context.Context, path string, from io.Reader, o Owner) error {
	if strings.HasSuffix(path, "/") {
		return pathError("write", path, unix.EISDIR)
	}
	var p place
	err := r.as(func() (err error) {
		p, err = r.resolve(path, true)
		return err
	})
	if err != nil {
		return pathError("write", path, err)
	}
	defer p.close()
	return pathError("write", path, r.writeAt(ctx, p, from, o))
}

func (r *Root) writeAt(ctx context.Context, p place, from io.Reader, o Owner) error {
	var there *Info
	if p.st != nil {
		i := r.info(p.name, p.st)
		switch there = &i; {
		case i.Mode.IsDir():
			return unix.EISDIR
		case !i.Mode.IsRegular():
			return ErrNotRegular
		case i.links > 1:
			return r.writeInPlace(ctx, p, from, o, i)
		}
	}
	uid, gid, mode := o.over(there, 0o644)
	hostUID, hostGID, err := r.owner(uid, gid)
	if err != nil {
		return err
	}
	n, err := r.newFile(p)
	if err != nil {
		return err
	}
	defer n.discard()
	if err := fill(ctx, n.file, from); err != nil {
		return err
	}
	err = r.as(func() error {
		if there != nil {
			if err := copyAttributes(p, n.file); err != nil {
				return err
			}
		}
		// The owner first: that takes set-id bits away.
		if err := n.file.Chown(hostUID, hostGID); err != nil {
			return err
		}
		if err := unix.Fchmod(int(n.file.Fd()), permissions(mode)); err != nil {
			return err
		}
		return n.publish()
	})
	if errors.Is(err, unix.EBUSY) && there != nil { // a mount point
		if _, err := n.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return r.writeInPlace(ctx, p, n.file, o, *there)
	}
	return err
}

// writeInPlace gives the file that is there another content.
func (r *Root) writeInPlace(ctx context.Context, p place, from io.Reader, o Owner, there Info) error {
	uid, gid, mode := o.over(&there, 0)
	hostUID, hostGID, err := r.owner(uid, gid)
	if err != nil {
		return err
	}
	var f *os.File
	err = r.as(func() error {
		fd, err := unix.Openat(p.parent, p.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }() // a path only
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			return ErrNotRegular
		}
		data, err := unix.Open(procPath(fd), unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err == nil {
			f = os.NewFile(uintptr(data), p.name)
		}
		return err
	})
	if err != nil {
		return err
	}
	err = fill(ctx, f, from)
	if err == nil {
		err = r.as(func() error {
			return errors.Join(f.Chown(hostUID, hostGID), unix.Fchmod(int(f.Fd()), permissions(mode)))
		})
	}
	return errors.Join(err, f.Close())
}

// newFile is a file that is being written.
type newFile struct {
	place
	file *os.File
	temp string // its name until it is published; "": it has none
}

// newFile makes a file that has no name yet, where the file system can (man open,
// O_TMPFILE): nothing is left of it when we are killed.
func (r *Root) newFile(p place) (*newFile, error) {
	n := &newFile{place: p}
	err := r.as(func() error {
		fd, err := unix.Openat(p.parent, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
			n.temp = tempName()
			fd, err = unix.Openat(p.parent, n.temp, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		}
		if err == nil {
			n.file = os.NewFile(uintptr(fd), p.name)
		}
		return err
	})
	return n, err
}

func tempName() string { return ".poolctl-" + rand.Text() }

// publish gives the file its name, over what has it now.
func (n *newFile) publish() error {
	if n.temp == "" {
		if n.st == nil {
			err := unix.Linkat(unix.AT_FDCWD, procPath(int(n.file.Fd())), n.parent, n.name, unix.AT_SYMLINK_FOLLOW)
			if !errors.Is(err, unix.EEXIST) {
				return err
			}
		}
		temp := tempName()
		if err := unix.Linkat(unix.AT_FDCWD, procPath(int(n.file.Fd())), n.parent, temp, unix.AT_SYMLINK_FOLLOW); err != nil {
			return err
		}
		n.temp = temp
	}
	err := unix.Renameat(n.parent, n.temp, n.parent, n.name)
	if err == nil {
		n.temp = ""
	}
	return err
}

// discard closes the file, and removes what was not published.
func (n *newFile) discard() {
	if n.temp != "" {
		_ = unix.Unlinkat(n.parent, n.temp, 0) // the first error counts
	}
	_ = n.file.Close() // an error of writing was seen before
}

// copyAttributes gives a new file the extended attributes of the one that it
// replaces, but for those that vouch for the content.
func copyAttributes(p place, to *os.File) error {
	fd, err := unix.Openat(p.parent, p.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return ignoreMissing(err)
	}
	defer func() { _ = unix.Close(fd) }() // a path only
	from := procPath(fd)
	list := make([]byte, 64<<10)
	n, err := unix.Listxattr(from, list)
	if err != nil {
		return nil // a file system without them
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		switch name {
		case "", "security.capability", "security.ima", "security.evm":
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Getxattr(from, name, value)
		if err != nil {
			continue // removed just now
		}
		if err := unix.Fsetxattr(int(to.Fd()), name, value[:n], 0); err != nil {
			return err
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
