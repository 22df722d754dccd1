package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/term"
)

// maxEdited bounds what is read from standard input, in bytes.
const maxEdited = 4 << 20

// editYAML has the user change a text in his editor and returns what he made of
// it; without a terminal, standard input is the new text.
func (e *env) editYAML(ctx context.Context, text []byte) ([]byte, error) {
	if !term.IsTerminal(int(e.stdin.Fd())) {
		return io.ReadAll(io.LimitReader(e.stdin, maxEdited))
	}
	f, err := os.CreateTemp("", "poolctl-*.yaml") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("cannot make a file to edit: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // what it holds is of no use later
	_, err = f.Write(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make a file to edit: %w", err)
	}
	editor := "vi"
	for _, name := range []string{"EDITOR", "VISUAL"} {
		if v := os.Getenv(name); v != "" {
			editor = v
		}
	}
	// An editor may come with arguments: the shell reads it, as everywhere.
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", editor+` "$1"`, "sh", f.Name())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.stdin, e.stdout, e.stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("cannot edit with %s: %w", editor, err)
	}
	return os.ReadFile(f.Name())
}
