package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/args"
)

// testEnv is an env of which the output goes to files of the test.
func testEnv(t *testing.T) (e *env, stdout, stderr func() string) {
	t.Helper()
	file := func(name string) (*os.File, func() string) {
		f, err := os.CreateTemp(t.TempDir(), name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f, func() string {
			text, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
	e = &env{stdin: os.Stdin, version: "1.2.3"}
	e.stdout, stdout = file("stdout")
	e.stderr, stderr = file("stderr")
	return e, stdout, stderr
}

// walkCommands visits every command with its path.
func walkCommands(path []string, commands []*cli.Command, visit func(path []string, c *cli.Command)) {
	for _, c := range commands {
		p := append(slices.Clone(path), c.Name)
		visit(p, c)
		walkCommands(p, c.Subcommands, visit)
	}
}

// TestTree holds every command to the same rules.
func TestTree(t *testing.T) {
	e, _, _ := testEnv(t)
	app := wholeApp(e)
	global := map[string]bool{"h": true, "help": true}
	for _, f := range app.Flags {
		for _, n := range f.Names() {
			global[n] = n != "format" // which commands have too
		}
	}
	seen := map[string]bool{}
	walkCommands(nil, app.Commands, func(path []string, c *cli.Command) {
		name := strings.Join(path, " ")
		for _, n := range c.Names() {
			full := strings.Join(append(slices.Clone(path[:len(path)-1]), n), " ")
			if seen[full] {
				t.Errorf("two commands are called %q", full)
			}
			seen[full] = true
		}
		if c.Usage == "" || strings.HasSuffix(c.Usage, ".") || strings.ToLower(c.Usage[:1]) != c.Usage[:1] {
			t.Errorf("%s: usage %q", name, c.Usage)
		}
		if len(c.Subcommands) > 0 {
			if c.Action != nil || len(c.Flags) > 0 {
				t.Errorf("%s: a group has an action or flags", name)
			}
			return
		}
		if c.Action == nil || !strings.Contains(c.Description, "Example") || !strings.Contains(c.Description, "poolctl "+name) {
			t.Errorf("%s: no action, or no example of it: %q", name, c.Description)
		}
		for _, f := range c.Flags {
			for _, n := range f.Names() {
				if global[n] {
					t.Errorf("%s: flag %s is a global one", name, n)
				}
			}
			if d, ok := f.(cli.DocGenerationFlag); !ok || d.GetUsage() == "" {
				t.Errorf("%s: flag %v has no usage", name, f.Names())
			}
		}
	})
	for name, command := range rules().Default {
		if !seen[name+" "+command] {
			t.Errorf("the default command %s %s does not exist", name, command)
		}
	}
	for _, name := range rules().Raw {
		if !seen[name] {
			t.Errorf("the command %s does not exist", name)
		}
	}
}

// TestHelpOfAll asks every command for help.
func TestHelpOfAll(t *testing.T) {
	e, _, _ := testEnv(t)
	walkCommands(nil, wholeApp(e).Commands, func(path []string, c *cli.Command) {
		e, stdout, stderr := testEnv(t)
		argv := append(append([]string{"poolctl"}, path...), "--help")
		if code := e.exitCode(e.main(t.Context(), argv)); code != 0 {
			t.Errorf("%v: exit %d: %s", argv, code, stderr())
		}
		if !strings.Contains(stdout(), "poolctl "+strings.Join(path, " ")) || !strings.Contains(stdout(), c.Usage) {
			t.Errorf("%v: %s", argv, stdout())
		}
	})
}

// TestNamedCommands: what is made for a command line does what all commands would.
func TestNamedCommands(t *testing.T) {
	e, _, _ := testEnv(t)
	for _, c := range topCommands() {
		if names := strings.Join(c.make(e).Names(), " "); names != c.names {
			t.Errorf("the command %q is listed as %q", names, c.names)
		}
	}
	whole := wholeApp(e)
	for _, line := range []string{
		"", "--version", "--help", "help", "help list", "list --help", "lst", "lst info", "--root list info", "--root list", "--root=x", "-q", "--format json list",
		"--format json stop", "exec c -- list", "snapshot c1", "--alias x image pull a", "--alias x list", "-f list", "rm c1", "pool list", "-- list", "--root", "--version list", "list --version", "--quiet=maybe --version",
	} {
		argv := append([]string{"poolctl"}, strings.Fields(line)...)
		app, got, err := e.read(argv)
		want, wantErr := args.Canonical(whole, rules(), argv)
		if diff := cmp.Diff(want, got); diff != "" || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("%q: %v (-want +got)\n%s", line, err, diff)
		}
		if err != nil {
			continue
		}
		word := slices.IndexFunc(got[1:], func(w string) bool { return !strings.HasPrefix(w, "-") })
		switch {
		case word >= 0 && app.Command(got[1+word]) == nil:
			t.Errorf("%q: the command is missing", line)
		case word < 0 && !slices.Contains(got, "--version") && len(app.Commands) != len(topCommands()):
			t.Errorf("%q: %d commands for the help", line, len(app.Commands))
		}
	}
}
