package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/args"
	"poolctl/pool"
	"poolctl/runtime/guestfs"
)

func fileCommands(e *env) *cli.Command {
	return group("file", nil, catInstances, "manage the files of instances, running or stopped",
		filePushCommand(e), filePullCommand(e), fileEditCommand(e), fileCreateCommand(e), fileDeleteCommand(e), fileMountCommand(e))
}

// guestPath is a place in an instance, as the user wrote it.
type guestPath struct {
	text, instance, path string
	// snapshot is that of the instance in which the path is; "" for the instance itself.
	snapshot string
}

// base is the last part of the path; "" for the root.
func (g guestPath) base() string {
	p := strings.TrimRight(g.path, "/")
	return p[strings.LastIndexByte(p, '/')+1:]
}

// parseGuestPath reads [local:]INSTANCE/PATH.
func parseGuestPath(command, word string) (guestPath, error) {
	g := guestPathOf(word)
	return g, checkGuestPaths(command, []string{word})
}

// guestPathOf is parseGuestPath for what checkGuestPaths has taken.
func guestPathOf(word string) guestPath {
	name, path, _ := strings.Cut(strings.TrimPrefix(word, "local:"), "/")
	return guestPath{text: word, instance: name, path: "/" + path}
}

// checkGuestPaths refuses words that are no places in instances.
func checkGuestPaths(command string, words []string) error {
	for _, word := range words {
		if name, _, ok := strings.Cut(strings.TrimPrefix(word, "local:"), "/"); !ok || name == "" {
			return badUsage(command, "%q is not of the form INSTANCE/PATH", word)
		}
	}
	return nil
}

// inSnapshot tells a path in a snapshot, INSTANCE/SNAPSHOT/PATH.
func (g guestPath) inSnapshot(ctx context.Context, s *pool.System) (guestPath, error) {
	var err error
	g.snapshot, g.path, err = s.SnapshotOfPath(ctx, g.instance, g.path)
	return g, err
}

// pulls is what withFiles does that changes nothing: also in snapshots.
const pulls = "pull"

// withFiles runs f with the files of an instance or a snapshot, and says in errors
// what was to be done.
func withFiles(ctx context.Context, s *pool.System, what string, g guestPath, f func(*pool.Files) error) (err error) {
	open := func() (*pool.Files, error) { return s.OpenFiles(ctx, g.instance) }
	if g.snapshot != "" {
		open = func() (*pool.Files, error) { return s.OpenSnapshotFiles(ctx, g.instance, g.snapshot) }
	} else if what != pulls {
		if err := s.RefuseSnapshotPath(ctx, g.instance, g.path); err != nil {
			return fmt.Errorf("cannot %s %s: %w", what, g.text, err)
		}
	}
	files, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	err = f(files)
	var usage *args.UsageError
	if err == nil || errors.As(err, &usage) {
		return err
	}
	var perr *fs.PathError
	if errors.As(err, &perr) && err.Error() == perr.Error() && perr.Path == g.path { // it is named already
		err = perr.Err
	}
	return fmt.Errorf("cannot %s %s: %w", what, g.text, err)
}

// ownerOptions are the flags that say who is to own a file.
type ownerOptions struct{ uid, gid, mode string }

func (o *ownerOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "uid", Usage: "`ID` of the user inside that is to own it", Destination: &o.uid},
		&cli.StringFlag{Name: "gid", Usage: "`ID` of the group inside that is to own it", Destination: &o.gid},
		&cli.StringFlag{Name: "mode", Usage: "its `PERMISSIONS`, octal", Destination: &o.mode},
	}
}

// owner reads the flags.
func (o *ownerOptions) owner(command string) (out guestfs.Owner, err error) {
	for _, f := range []struct {
		name, text string
		to         **uint32
	}{{"uid", o.uid, &out.UID}, {"gid", o.gid, &out.GID}} {
		if f.text == "" {
			continue
		}
		n, err := strconv.ParseUint(f.text, 10, 32)
		if err != nil || n == 1<<32-1 {
			return out, badUsage(command, "--%s=%s is no id", f.name, f.text)
		}
		id := uint32(n)
		*f.to = &id
	}
	if o.mode != "" {
		m, err := parseMode(o.mode)
		if err != nil {
			return out, badUsage(command, "--mode=%s: %s", o.mode, err)
		}
		out.Mode = &m
	}
	return out, nil
}

// parseMode reads permissions in octal, 0 to 7777.
func parseMode(text string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(text, 8, 16)
	if err != nil || n > 0o7777 {
		return 0, errors.New("not permissions: 0 to 7777, octal")
	}
	mode := fs.FileMode(n & 0o777)
	for bit, m := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if n&bit != 0 {
			mode |= m
		}
	}
	return mode, nil
}

// parents makes the directories above path for --create-dirs.
func parents(files *pool.Files, path string, o guestfs.Owner) error {
	o.Mode = nil
	path = strings.TrimRight(path, "/")
	return files.MkdirAll(path[:max(strings.LastIndexByte(path, '/'), 0)], o)
}
