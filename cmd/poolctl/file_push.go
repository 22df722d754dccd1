package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
	"poolctl/runtime/guestfs"
)

func filePushCommand(e *env) *cli.Command {
	o := &ownerOptions{}
	p := &filePush{e: e}
	return &cli.Command{
		Name: "push", Usage: "copy files into an instance", ArgsUsage: "SOURCE... INSTANCE/PATH",
		Description: example("Owner and mode are those of the source, unless given. PATH is a directory when it ends with a slash, is one, or several\n"+
			"are pushed. \"-\" is standard input, which becomes root's, 0644, or keeps those of the file that it replaces. With\n"+
			"--recursive directories are copied with all that is in them, below PATH.",
			"poolctl file push app.conf c1/etc/", "poolctl file push --recursive site c1/var/www", "echo hello | poolctl file push - c1/root/hello --mode 600"),
		Flags: append(o.flags(),
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, Usage: "copy directories too", Destination: &p.recursive},
			&cli.BoolFlag{Name: "create-dirs", Aliases: []string{"p"}, Usage: "make the directories that are missing", Destination: &p.createDirs}),
		Action: e.action(2, many, func(ctx context.Context, s *pool.System, args []string) (err error) {
			if p.owner, err = o.owner("file push"); err != nil {
				return err
			}
			target, err := parseGuestPath("file push", args[len(args)-1])
			if err != nil {
				return err
			}
			return withFiles(ctx, s, "push to", target, func(files *pool.Files) error { return p.push(ctx, files, args[:len(args)-1], target) })
		}),
	}
}

// filePush is one run of the command.
type filePush struct {
	e                     *env
	owner                 guestfs.Owner
	recursive, createDirs bool
}

func (p *filePush) push(ctx context.Context, files *pool.Files, sources []string, target guestPath) error {
	into, err := p.isDir(files, sources, target)
	if err != nil {
		return err
	}
	for _, source := range sources {
		path := target.path
		if into {
			path = strings.TrimRight(path, "/") + "/" + hostBase(source)
		}
		if p.createDirs {
			if err := parents(files, path, p.owner); err != nil {
				return err
			}
		}
		if err := p.one(ctx, files, source, path, into); err != nil {
			return err
		}
	}
	return nil
}

// isDir says whether the sources go into the target.
func (p *filePush) isDir(files *pool.Files, sources []string, target guestPath) (bool, error) {
	info, err := files.Stat(target.path)
	switch {
	case err == nil && info.Mode.IsDir(), strings.HasSuffix(target.path, "/"), p.recursive:
		return true, nil
	case len(sources) > 1:
		return false, badUsage("file push", "several files cannot become one: %s is not a directory", target.text)
	}
	return false, nil
}

func (p *filePush) one(ctx context.Context, files *pool.Files, source, path string, into bool) error {
	if source == "-" {
		if into {
			return badUsage("file push", "what comes from standard input needs a name: INSTANCE/PATH")
		}
		return files.Write(ctx, path, p.e.stdin, -1, p.owner)
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return files.PushFile(ctx, source, path, p.owner)
	}
	if !p.recursive {
		return fmt.Errorf("%s is a directory: --recursive copies those", source)
	}
	return files.PushTree(ctx, source, path, p.owner)
}

// hostBase is the name of a file or directory on the host, also of "." and "..".
func hostBase(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return filepath.Base(path)
}
