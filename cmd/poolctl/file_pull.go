package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func filePullCommand(e *env) *cli.Command {
	p := &filePull{e: e}
	return &cli.Command{
		Name: "pull", Usage: "copy files out of instances", ArgsUsage: "INSTANCE[/SNAPSHOT]/PATH... TARGET",
		Description: example("TARGET is a directory when it ends with a slash, is one, or several are pulled; \"-\" is standard output. The files\n"+
			"become those of whoever pulls them, with their modes but without set-id bits. With --recursive directories are copied with\n"+
			"all that is in them, below TARGET, which is made if it is missing. A first part of the path that is called like a snapshot\n"+
			"of the instance is that snapshot; INSTANCE//PATH is always in the instance itself.",
			"poolctl file pull c1/etc/os-release -", "poolctl file pull --recursive c1/var/log logs/", "poolctl file pull c1/before-upgrade/etc/passwd ."),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, Usage: "copy directories too", Destination: &p.recursive},
			&cli.BoolFlag{Name: "create-dirs", Aliases: []string{"p"}, Usage: "make the directories that are missing", Destination: &p.createDirs},
		},
		Action: e.action(2, many, func(ctx context.Context, s *pool.System, args []string) error {
			target, sources := args[len(args)-1], args[:len(args)-1]
			if p.recursive && target == "-" {
				return badUsage("file pull", "a directory cannot become standard output")
			}
			if err := checkGuestPaths("file pull", sources); err != nil {
				return err
			}
			into, err := p.isDir(sources, target)
			if err != nil {
				return err
			}
			err = each(ctx, sources, func(ctx context.Context, word string) error {
				g, err := guestPathOf(word).inSnapshot(ctx, s)
				if err != nil {
					return err
				}
				return withFiles(ctx, s, pulls, g, func(files *pool.Files) error { return p.pull(ctx, files, g, target, into) })
			})
			if err != nil && p.made {
				_ = os.Remove(target) // unless something has come into it
			}
			return err
		}),
	}
}

// filePull is one run of the command.
type filePull struct {
	e                     *env
	recursive, createDirs bool
	made                  bool // the target is a directory that was not there before
}

// isDir says whether the files go into the target, and makes what is missing.
func (p *filePull) isDir(sources []string, target string) (bool, error) {
	if target == "-" {
		return false, nil
	}
	info, err := os.Stat(target)
	into := err == nil && info.IsDir() || strings.HasSuffix(target, "/") || p.recursive || errors.Is(err, fs.ErrNotExist) && len(sources) > 1
	if len(sources) > 1 && !into {
		return false, badUsage("file pull", "several files cannot become one: %s is not a directory", target)
	}
	if !p.createDirs {
		if errors.Is(err, fs.ErrNotExist) && (p.recursive || len(sources) > 1) { // it cannot be meant as a file
			if err := os.Mkdir(target, 0o755); err != nil { //nolint:gosec // as mkdir would make it
				return into, &noDirectoryError{target, err}
			}
			p.made = true
			return into, nil
		}
		return into, nil
	}
	dir := target
	if !into {
		dir = filepath.Dir(target)
	}
	return into, os.MkdirAll(dir, 0o755) //nolint:gosec // as mkdir would make it
}

func (p *filePull) pull(ctx context.Context, files *pool.Files, g guestPath, target string, into bool) error {
	if target == "-" {
		return files.Read(ctx, g.path, p.e.stdout)
	}
	info, err := files.Stat(g.path)
	if err != nil {
		return err
	}
	if into {
		if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
			return err
		}
		name := g.base()
		if name == "" || name == "." || name == ".." {
			name = g.instance
		}
		target = filepath.Join(target, name)
	}
	if !info.Mode.IsDir() {
		return files.PullFile(ctx, g.path, target)
	}
	if !p.recursive {
		return errors.New("it is a directory: --recursive copies those")
	}
	return files.PullTree(ctx, g.path, target)
}

// noDirectoryError is a directory to pull into that could not be made.
type noDirectoryError struct {
	dir   string
	cause error
}

func (e *noDirectoryError) Error() string {
	var pathErr *fs.PathError
	if errors.As(e.cause, &pathErr) {
		return "cannot make the directory " + e.dir + ": " + pathErr.Err.Error()
	}
	return e.cause.Error()
}

func (e *noDirectoryError) Unwrap() error { return e.cause }

// Hint is the line to print below the error.
func (e *noDirectoryError) Hint() string { return "--create-dirs makes those above it too" }
