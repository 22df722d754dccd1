package btrfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// receiveProgram reads send streams: the kernel has no ioctl for that.
const receiveProgram = "btrfs"

// Receive makes a read-only subvolume, called name, in the directory dir of what
// Send wrote, with btrfs-receive(8), which is confined to dir (chroot(2)). The
// parent of a stream with one must be in dir too: parents has the UUID of each that
// may be one, by the UUID that streams have for it (StreamUUID). One that is not
// among them is ErrNoParent. A stream that cannot be read leaves nothing. Errors are
// the bare cause: the caller knows what it is of.
func Receive(ctx context.Context, dir, name string, parents map[string]string, r io.Reader) error {
	program, err := exec.LookPath(receiveProgram)
	if err != nil {
		return fmt.Errorf("the program %s is missing (package btrfs-progs): %w", receiveProgram, err)
	}
	before, err := entries(dir)
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "--quiet", "receive", "-C", "-e", "--", dir)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	stream := newStreamReader(r, parents, func(parent string) (*setIDs, error) { return setIDsOf(dir, parent) })
	cmd.Stdin, cmd.Stderr = stream, &stderr
	err = cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	} else if stream.err != nil { // what ended it for btrfs
		err = stream.err
	} else if err != nil {
		if lines := lastLines(stderr.String(), 2); lines != "" {
			err = fmt.Errorf("btrfs receive: %w: %s", err, lines)
		}
	}
	made, lerr := added(dir, before)
	if err == nil {
		err = lerr
	}
	if err == nil && len(made) != 1 {
		err = fmt.Errorf("the stream holds %d subvolumes, not one", len(made))
	}
	if err != nil {
		for _, n := range made {
			err = errors.Join(err, DeleteTree(context.WithoutCancel(ctx), filepath.Join(dir, n)))
		}
		return err
	}
	// In its own directory a read-only subvolume can be renamed.
	return os.Rename(filepath.Join(dir, made[0]), filepath.Join(dir, name))
}

// setIDsOf are the set-id files of the subvolume in dir that has that UUID.
func setIDsOf(dir, uuid string) (*setIDs, error) {
	names, err := entries(dir)
	if err != nil {
		return nil, err
	}
	for name := range names {
		path := filepath.Join(dir, name)
		sub, err := Stat(path)
		if errors.Is(err, ErrNotSubvolume) || err == nil && sub.UUID != uuid {
			continue
		}
		if err != nil {
			return nil, err
		}
		return readSetIDs(path)
	}
	return nil, fmt.Errorf("%w (UUID %s)", ErrNoParent, uuid)
}

// entries are the names in a directory.
func entries(dir string) (map[string]bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	out := make(map[string]bool, len(names))
	for _, n := range names {
		out[n] = true
	}
	return out, errors.Join(err, f.Close())
}

// added are the names that came to a directory since.
func added(dir string, before map[string]bool) ([]string, error) {
	now, err := entries(dir)
	var out []string
	for n := range now {
		if !before[n] {
			out = append(out, n)
		}
	}
	return out, err
}
