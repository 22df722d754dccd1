//go:build crashpoints

package crash

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv("CRASH_TEST_CHILD") == "1" {
		Point("a")
		Point("b")
		Point("a")
		os.Exit(7)
	}
	os.Exit(m.Run())
}

// TestPoint runs a child through the points a, b, a and checks where it dies and what it traced.
func TestPoint(t *testing.T) {
	for _, test := range []struct {
		crash, trace string
		killed       bool
	}{
		{crash: "", trace: "a\nb\na\n"},
		{crash: "other", trace: "a\nb\na\n"},
		{crash: "a", trace: "a\n", killed: true},
		{crash: "b", trace: "a\nb\n", killed: true},
		{crash: "a:2", trace: "a\nb\na\n", killed: true},
		{crash: "*:2", trace: "a\nb\n", killed: true},
		{crash: "a:3", trace: "a\nb\na\n"},
	} {
		trace := filepath.Join(t.TempDir(), "trace")
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "CRASH_TEST_CHILD=1", "POOLCTL_CRASH="+test.crash, "POOLCTL_CRASH_TRACE="+trace)
		var exit *exec.ExitError
		if err := cmd.Run(); !errors.As(err, &exit) {
			t.Fatalf("%q: child ended with %v", test.crash, err)
		}
		status, ok := exit.Sys().(syscall.WaitStatus)
		if !ok {
			t.Fatalf("no wait status")
		}
		if killed := status.Signaled() && status.Signal() == syscall.SIGKILL; killed != test.killed {
			t.Errorf("%q: killed = %v (%v)", test.crash, killed, exit)
		}
		got, err := os.ReadFile(trace)
		if err != nil || string(got) != test.trace {
			t.Errorf("%q: trace %q (%v), want %q", test.crash, got, err, test.trace)
		}
	}
}
