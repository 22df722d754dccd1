package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// suite is what TestMain makes once, read-only after that.
var suite struct {
	dir     string // everything that the tests write is below it
	program string // the normal build
	crashy  string // the build with crash points
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

// run builds the programs and runs the tests between two looks at the whole machine.
func run(m *testing.M) (code int, err error) {
	if os.Geteuid() != 0 {
		return 1, fmt.Errorf("these tests need root: they attach loop devices, mount and make namespaces")
	}
	suite.dir, err = os.MkdirTemp("", "poolctl-e2e.")
	if err != nil {
		return 1, err
	}
	if suite.dir, err = filepath.EvalSymlinks(suite.dir); err != nil { // as the kernel names it
		return 1, err
	}
	if err := os.Chmod(suite.dir, 0o711); err != nil { // guests' root is nobody here
		return 1, err
	}
	before, err := lookAround()
	if err != nil {
		return 1, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	suite.program, suite.crashy = filepath.Join(suite.dir, "bin", "poolctl"), filepath.Join(suite.dir, "bin", "poolctl-crashy")
	for out, tags := range map[string]string{suite.program: "", suite.crashy: "crashpoints"} {
		if err := build(ctx, out, tags); err != nil {
			return 1, errors.Join(err, os.RemoveAll(suite.dir))
		}
	}
	code = m.Run()
	left, err := settle(before, func(m machine) machine { return m }, 10*time.Second)
	if err != nil {
		return 1, err
	}
	// Where other people's work goes on as well, what does not name this run may be theirs; CI has the machine to itself.
	if own := ownOf(left); len(own) > 0 || len(left) > 0 && os.Getenv("CI") != "" {
		return 1, fmt.Errorf("the tests left on this machine (what they wrote is kept in %s):\n  %s", suite.dir, strings.Join(left, "\n  "))
	} else if len(left) > 0 {
		fmt.Fprintf(os.Stderr, "e2e: on this machine there is now, of somebody else by its name:\n  %s\n", strings.Join(left, "\n  "))
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "e2e: what the tests wrote is kept in %s\n", suite.dir)
		return code, nil
	}
	return code, os.RemoveAll(suite.dir)
}

// ownOf keeps the lines that name this run: its directory, its networks, or the cgroup of one of its hosts.
func ownOf(lines []string) []string {
	var own []string
	for _, line := range lines {
		mine := strings.Contains(line, suite.dir) || strings.Contains(line, bridgePrefix())
		hosts.Range(func(state, _ any) bool {
			path, ok := state.(string)
			mine = mine || ok && strings.Contains(line, cgroupOf(path))
			return !mine
		})
		if mine {
			own = append(own, line)
		}
	}
	return own
}

// build builds the program from this module's source.
func build(ctx context.Context, out, tags string) error {
	root, err := findModuleRoot()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "urfave_cli_no_docs "+tags, "-o", out, "./cmd/poolctl")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the program: %w\n%s", err, msg)
	}
	return nil
}

// findModuleRoot walks up to the go.mod of the module that this test is part of.
func findModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if data, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && strings.HasPrefix(string(data), "module poolctl\n") {
			return dir, nil
		}
	}
	return "", fmt.Errorf("cannot find the module's go.mod above the tests")
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := findModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}
