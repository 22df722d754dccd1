package pool

import (
	"os"
	"strings"
	"testing"
)

// writeLogs makes all files that are kept of an instance's runs.
func writeLogs(t *testing.T, s *System, name string) {
	t.Helper()
	for _, log := range s.logsOf(name) {
		ok(t, os.WriteFile(log, []byte("of "+name), 0o600))
	}
}

// logNames are the names of the files in logs/.
func logNames(t *testing.T, s *System) string {
	t.Helper()
	entries, err := os.ReadDir(s.dir.Logs())
	ok(t, err)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// The logs of a pool's instances go with it, and those of others stay.
func TestLogsGoWithPool(t *testing.T) {
	s := newSystem(t)
	for _, forget := range []bool{false, true} {
		createPool(t, s, "p", nil)
		addInstance(t, s, "p", "c1")
		writeLogs(t, s, "c1")
		writeLogs(t, s, "c10")
		if forget {
			source, err := s.ForgetPool(t.Context(), "p")
			ok(t, err, os.Remove(source))
		} else {
			ok(t, s.DeletePool(t.Context(), "p", true))
		}
		want := "c10.console.log c10.console.log.old c10.exit.json c10.exit.json.old c10.log c10.log.old"
		if got := logNames(t, s); got != want {
			t.Errorf("forgotten: %v: left are %s, want %s", forget, got, want)
		}
	}
}

// The logs of an instance that is nowhere are not those of a new one, and the doctor
// tells of them.
func TestStrayLogs(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	addInstance(t, s, "p", "c1")
	writeLogs(t, s, "c1")
	writeLogs(t, s, "gone")
	finds(t, s, false, want{"notice", "logs of gone", "there is no instance", "doctor --fix", ""})
	finds(t, s, true, want{"notice", "logs of gone", "there is no instance", "doctor --fix", "they were removed"})
	finds(t, s, true)
	writeLogs(t, s, "c2")
	writeLogs(t, s, "c3")
	_, err := s.Copy(t.Context(), CopyOptions{Source: "c1", Name: "c2"})
	ok(t, err, s.RenameInstance(t.Context(), "c1", "c3"))
	got, err := os.ReadFile(s.logFile("c3"))
	if ok(t, err); string(got) != "of c1" || strings.Contains(logNames(t, s), "c2") {
		t.Errorf("the log is %q; there are %s", got, logNames(t, s))
	}
	ok(t, s.DetachPool(t.Context(), "p"))
	finds(t, s, false)
}
