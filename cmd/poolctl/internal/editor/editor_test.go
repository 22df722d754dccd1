package editor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// files are those of a user who has stdin as his input; his output is dropped.
func files(t *testing.T, stdin *os.File) Files {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	return Files{Stdin: stdin, Stdout: null, Stderr: null}
}

// terminal makes a pseudo terminal.
func terminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = user.Close() })
	number, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	if program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return user, program
}

func TestChangeFromInput(t *testing.T) {
	path := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []error{nil, errors.New("refused")} {
		in, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		err = Change(t.Context(), files(t, in), []byte("old"), func(b []byte) error { got = string(b); return want })
		if !errors.Is(err, want) || got != "new" {
			t.Errorf("%q, %v; want %v", got, err, want)
		}
		_ = in.Close()
	}
	if err := os.WriteFile(path, make([]byte, limit+1), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	if err := Change(t.Context(), files(t, in), nil, func([]byte) error { return nil }); err == nil {
		t.Error("too long a text was taken")
	}
}

func TestChangeInEditor(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("VISUAL", "sed -i -e s/old/new/")
	t.Setenv("EDITOR", "false")
	user, tty := terminal(t)
	var got []string
	apply := func(b []byte) error {
		if got = append(got, string(b)); len(got) == 1 {
			return errors.New("not yet")
		}
		return nil
	}
	if _, err := user.WriteString("\n"); err != nil { // once more, please
		t.Fatal(err)
	}
	if err := Change(t.Context(), files(t, tty), []byte("an old old text\n"), apply); err != nil {
		t.Fatal(err)
	}
	if want := []string{"an new old text\n", "an new new text\n"}; strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%q, want %q", got, want)
	}
	unchanged := func([]byte) error { t.Error("what was not changed was applied"); return nil }
	if err := Change(t.Context(), files(t, tty), []byte("same"), unchanged); err != nil {
		t.Error(err)
	}
	t.Setenv("VISUAL", "")
	if err := Change(t.Context(), files(t, tty), []byte("same"), unchanged); err == nil {
		t.Error("an editor that fails is no error")
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) != 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
}
