package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // some texts have the user's zone
	testscript.Main(m, map[string]func(){"poolctl": main})
}

// TestScripts runs command lines that need no pool. As opening the state
// directory needs root, so do they.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("POOLCTL_DIR", filepath.Join(env.WorkDir, "state"))
			return nil
		},
	})
}

// TestNotRoot runs the program, which this test's own file is under the name
// poolctl, as nobody.
func TestNotRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, to become nobody")
	}
	dir, err := os.MkdirTemp("", "poolctl-nobody.")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // nobody has to run what is in it
		t.Fatal(err)
	}
	program := filepath.Join(dir, "poolctl")
	copySelf(t, program)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--version"}, 0, ""},
		{[]string{"list", "--help"}, 0, ""},
		{[]string{"list"}, 1, "error: cannot manage pools: must be run as root\nhint: try it with sudo\n"},
		{[]string{"start", "c1"}, 1, "error: cannot manage pools: must be run as root\nhint: try it with sudo\n"},
		{[]string{"start"}, 2, ""},
	} {
		cmd := exec.Command(program, c.args...)
		cmd.Env = []string{"POOLCTL_DIR=" + filepath.Join(dir, "state"), "PATH=" + os.Getenv("PATH")}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != c.code || c.want != "" && stderr.String() != c.want {
			t.Errorf("poolctl %s: exit %d, %q", strings.Join(c.args, " "), got, stderr.String())
		}
	}
}

// copySelf copies this process's program.
func copySelf(t *testing.T, to string) {
	t.Helper()
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755) //nolint:gosec // nobody has to run it
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestConfirmDelete: what is not confirmed stops all of it.
func TestConfirmDelete(t *testing.T) {
	for answers, want := range map[string]string{"yes\ny\n": "", "y\nno\n": "cannot delete c2: it was not confirmed, and nothing is deleted", "\n": "cannot delete c1: it was not confirmed, and nothing is deleted"} {
		e, _, stderr := testEnv(t)
		in, err := os.CreateTemp(t.TempDir(), "answers")
		if err == nil {
			_, err = in.WriteString(answers)
		}
		if err == nil {
			_, err = in.Seek(0, io.SeekStart)
		}
		if err != nil {
			t.Fatal(err)
		}
		e.stdin = in
		err = e.confirmDelete([]string{"c1", "c2"})
		if got := fmt.Sprint(err); want == "" && err != nil || want != "" && got != want {
			t.Errorf("%q: %v, want %q", answers, err, want)
		}
		if !strings.HasPrefix(stderr(), "Remove c1 (yes/no)") {
			t.Errorf("it asked %q", stderr())
		}
		_ = in.Close()
	}
}
