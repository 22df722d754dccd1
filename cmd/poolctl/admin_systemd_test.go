package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// parseUnit reads a unit file: the values of each SECTION.KEY in their order.
func parseUnit(t *testing.T, text string) map[string][]string {
	t.Helper()
	out, section := map[string][]string{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(name, "]")
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section == "" || value == "" {
			t.Fatalf("line %q of section %q", line, section)
		}
		out[section+"."+key] = append(out[section+"."+key], value)
	}
	return out
}

// unitWords splits and unquotes a command line as systemd.service(5) says.
func unitWords(t *testing.T, line string) []string {
	t.Helper()
	var out []string
	word, in, quoted := "", false, false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '"':
			in, quoted = true, !quoted
		case c == ' ' && !quoted:
			if in {
				out = append(out, word)
			}
			word, in = "", false
		case c == '%' || c == '$':
			if i+1 == len(line) || line[i+1] != c {
				t.Errorf("a single %c in %q is expanded", c, line)
			}
			i++
			word, in = word+string(c), true
		case c == '\\':
			i++
			word, in = word+string(line[i]), true
		default:
			word, in = word+string(c), true
		}
	}
	if quoted {
		t.Errorf("open quote in %q", line)
	}
	if in {
		out = append(out, word)
	}
	return out
}

// The unit says what it is to say whatever the paths are, and systemd agrees
// where it is there to be asked.
func TestSystemdUnit(t *testing.T) {
	for i, c := range []struct{ program, root string }{
		{"/usr/local/bin/poolctl", defaultRoot},
		{"/opt/my tools/pool%ctl", "/srv/a b/100%"},
		{`/opt/$HOME/p"q`, `/srv/back\slash'$x`},
	} {
		unit := systemdUnit(c.program, c.root)
		got := parseUnit(t, unit)
		prefix := []string{c.program}
		if c.root != defaultRoot {
			prefix = append(prefix, "--root", c.root)
		}
		for key, want := range map[string][][]string{
			"Service.ExecStart": {{"-", "pool", "attach", "--all"}, {"-", "admin", "boot"}},
			"Service.ExecStop":  {{"-", "admin", "shutdown"}, {"", "pool", "detach", "--all"}},
		} {
			if len(got[key]) != len(want) {
				t.Fatalf("%s: %q", key, got[key])
			}
			for n, w := range want {
				line, ignored := strings.CutPrefix(got[key][n], "-")
				if argv := unitWords(t, line); ignored != (w[0] == "-") || !slices.Equal(argv, slices.Concat(prefix, w[1:])) {
					t.Errorf("%s: %q is %q", key, got[key][n], argv)
				}
			}
		}
		for key, want := range map[string]string{
			"Service.Type": "oneshot", "Service.RemainAfterExit": "yes", "Install.WantedBy": "multi-user.target",
			"Unit.ConditionPathExists": strings.ReplaceAll(c.root, "%", "%%") + "/pools",
		} {
			if fmt.Sprint(got[key]) != "["+want+"]" {
				t.Errorf("%s = %q", key, got[key])
			}
		}
		if !slices.Contains(strings.Fields(got["Unit.After"][0]), "local-fs.target") {
			t.Errorf("After=%q", got["Unit.After"])
		}
		verifyUnit(t, unitName, unit, c.program, i)
		unit = systemdImagesUnit(c.program, c.root)
		for n, w := range [][]string{{"-", "image", "refresh", "--all", "--auto"}, {"", "admin", "expire"}} {
			line, ignored := strings.CutPrefix(parseUnit(t, unit)["Service.ExecStart"][n], "-")
			if argv := unitWords(t, line); ignored != (w[0] == "-") || !slices.Equal(argv, slices.Concat(prefix, w[1:])) {
				t.Errorf("%q", argv)
			}
		}
		verifyUnit(t, imagesUnit, unit, c.program, i)
		unit = systemdSnapshotsUnit(c.program, c.root)
		if argv := unitWords(t, parseUnit(t, unit)["Service.ExecStart"][0]); !slices.Equal(argv, slices.Concat(prefix, []string{"admin", "snapshots"})) {
			t.Errorf("%q", argv)
		}
		verifyUnit(t, snapshotsUnit, unit, c.program, i)
	}
	verifyUnit(t, imagesTimer, systemdImagesTimer, "/", 0)
	verifyUnit(t, snapshotsTimer, systemdSnapshotsTimer, "/", 0)
}

// verifyUnit has systemd-analyze look at the unit. It wants the program to be there.
func verifyUnit(t *testing.T, name, unit, program string, i int) {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Logf("systemd is not here: only what the test itself reads of the unit is checked")
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if service, ok := strings.CutSuffix(name, ".timer"); ok { // what it starts has to be there
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), service+".service"), []byte(systemdUnits(self, defaultRoot)[service+".service"]), 0o600); err != nil {
			t.Fatal(err)
		}
	} else {
		unit = strings.ReplaceAll(unit, quoteUnit(program, "$"), quoteUnit(self, "$"))
	}
	if err := os.WriteFile(path, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), name) {
		t.Errorf("unit %d: systemd-analyze verify: %v\n%s\n%s", i, err, out, unit)
	}
}

func TestInstallUnit(t *testing.T) {
	dir := t.TempDir()
	run := func(argv ...string) (int, string) {
		e, stdout, stderr := testEnv(t)
		code := e.exitCode(e.main(t.Context(), append([]string{"poolctl", "--root", "/srv/p", "admin", "systemd"}, argv...)))
		return code, stdout() + stderr()
	}
	if code, out := run(); code != 0 || !strings.Contains(out, " --root /srv/p pool attach --all\n") {
		t.Errorf("exit %d: %s", code, out)
	}
	if code, out := run(imagesTimer); code != 0 || !strings.Contains(out, "OnUnitActiveSec=6h\n") {
		t.Errorf("exit %d: %s", code, out)
	}
	path := filepath.Join(dir, unitName)
	for range 2 {
		if code, out := run("--install", "--dir", dir); code != 0 || !strings.Contains(out, "systemctl daemon-reload") {
			t.Errorf("exit %d: %s", code, out)
		}
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := run("--install", "--dir", dir); code != 1 || !strings.Contains(out, "--force") {
		t.Errorf("over another unit: exit %d: %s", code, out)
	}
	for name := range systemdUnits("/p", "/r") {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if raw, err := os.ReadFile(path); string(raw) != "mine" {
		t.Errorf("the other unit: %q, %v", raw, err)
	}
	if code, out := run("--install", "--force", "--dir", dir); code != 0 {
		t.Errorf("with --force: exit %d: %s", code, out)
	}
	if raw, err := os.ReadFile(path); !strings.Contains(string(raw), "[Service]") {
		t.Errorf("with --force: %q, %v", raw, err)
	}
	if code, _ := run("--install", "--dir", filepath.Join(dir, "none")); code != 1 {
		t.Errorf("a directory that is not there: exit %d", code)
	}
	for _, argv := range [][]string{{"--force"}, {"--dir", dir}, {"name"}, {"--install", unitName}, {"a", "b"}} {
		if code, _ := run(argv...); code != 2 {
			t.Errorf("%v: exit %d", argv, code)
		}
	}
}
