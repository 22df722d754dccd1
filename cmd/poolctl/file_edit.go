package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"poolctl/cmd/poolctl/internal/editor"
	"poolctl/pool"
	"poolctl/runtime/guestfs"
)

// editable is the largest file that is edited, in bytes.
const editable = 1 << 20

// emptyEditError refuses, for the path that it is, the empty input of a script that lost it, as of a command
// before a pipe that failed: incus would empty the file.
type emptyEditError string

func (path emptyEditError) Error() string {
	return fmt.Sprintf("cannot edit %s: the input is empty", string(path))
}

// Hint says how to do that on purpose.
func (path emptyEditError) Hint() string {
	return "to empty it: : | poolctl file push - " + string(path)
}

func fileEditCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "edit", Usage: "edit a file of an instance", ArgsUsage: "INSTANCE/PATH",
		Description: example("In $VISUAL or $EDITOR, or with the new content from standard input, which must not be empty. Owner and mode stay.", "poolctl file edit c1/etc/hosts"),
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			g, err := parseGuestPath("file edit", args[0])
			if err != nil {
				return err
			}
			var text bytes.Buffer
			err = withFiles(ctx, s, "edit", g, func(files *pool.Files) error {
				info, err := files.Stat(g.path)
				if err == nil && info.Mode.IsRegular() && info.Size > editable {
					err = fmt.Errorf("it is larger than %s", pool.FormatSize(editable))
				}
				if err != nil {
					return err
				}
				return files.Read(ctx, g.path, &text)
			})
			if err != nil {
				return err
			}
			in := editor.Files{Stdin: e.stdin, Stdout: e.stdout, Stderr: e.stderr}
			return editor.Change(ctx, in, text.Bytes(), func(edited []byte) error {
				if len(edited) == 0 && text.Len() > 0 && !term.IsTerminal(int(e.stdin.Fd())) {
					return emptyEditError(args[0])
				}
				// Opened again: it may have been started or stopped meanwhile.
				return withFiles(ctx, s, "edit", g, func(files *pool.Files) error {
					return files.Write(ctx, g.path, bytes.NewReader(edited), int64(len(edited)), guestfs.Owner{})
				})
			})
		}),
	}
}
