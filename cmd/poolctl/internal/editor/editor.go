package editor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/term"
)

// limit is the longest text that is read from the input or of an edited file,
// in bytes.
const limit = 1 << 20

// Files are where the user is.
type Files struct {
	Stdin, Stdout, Stderr *os.File
}

// Change gets a text from the user in place of text, and hands it to apply. On a
// terminal text is opened in $VISUAL, $EDITOR or the first editor that there is,
// and again when apply is not content; with anything else on the input that is
// the text, and apply's error the result. A text that is left as it was is not
// applied, and no error.
func Change(ctx context.Context, f Files, text []byte, apply func([]byte) error) error {
	if !term.IsTerminal(int(f.Stdin.Fd())) {
		given, err := readLimited(f.Stdin)
		if err != nil {
			return fmt.Errorf("cannot read the input: %w", err)
		}
		return apply(given)
	}
	in := bufio.NewReader(f.Stdin)
	for current := text; ; {
		edited, err := edit(ctx, f, current)
		if err != nil {
			return err
		}
		if string(edited) == string(text) {
			return nil
		}
		bad := apply(edited)
		if bad == nil {
			return nil
		}
		if _, err := fmt.Fprintf(f.Stderr, "%v\nPress enter to open the editor again or ctrl+c to abort ", bad); err != nil {
			return err
		}
		if _, err := in.ReadString('\n'); err != nil || ctx.Err() != nil {
			return bad
		}
		current = edited
	}
}

// edit opens text in the user's editor and returns what he saved.
func edit(ctx context.Context, f Files, text []byte) (_ []byte, err error) {
	program, err := program()
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "poolctl-edit-*.yaml")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	_, err = file.Write(text)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	// The variable can have arguments, as for other programs.
	cmd := exec.CommandContext(ctx, "sh", "-c", program+` "$1"`, "sh", file.Name())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f.Stdin, f.Stdout, f.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("cannot edit: %s: %w", program, err)
	}
	saved, err := os.Open(file.Name()) // editors may put a new file in its place
	if err != nil {
		return nil, err
	}
	edited, err := readLimited(saved)
	return edited, errors.Join(err, saved.Close())
}

// program is the user's editor.
func program() (string, error) {
	for _, name := range []string{"VISUAL", "EDITOR"} {
		if p := os.Getenv(name); p != "" {
			return p, nil
		}
	}
	for _, p := range []string{"editor", "vi", "nano", "emacs"} {
		if path, err := exec.LookPath(p); err == nil {
			return path, nil
		}
	}
	return "", errors.New("cannot edit: no editor found; set EDITOR, or give the new text on the input")
}

// readLimited reads at most limit bytes.
func readLimited(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && len(text) > limit {
		err = fmt.Errorf("it is larger than %d bytes", limit)
	}
	return text, err
}
