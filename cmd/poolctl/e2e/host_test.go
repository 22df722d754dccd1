package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"poolctl/fixtures"
)

// host is one state directory and what was made in it: the program's view of a machine, of which many fit on this one.
type host struct {
	t       *testing.T
	dir     string // the test's own directory
	state   string // POOLCTL_DIR
	program string
	env     []string
	bridge  string // name of the network, once there is one
}

// result is how a command ended.
type result struct {
	args           []string
	stdout, stderr string
	code           int // -1: by a signal
	took           time.Duration
	cpu            time.Duration // processor time, with that of the children that it waited for
}

// processorTime is what a process that has ended used, with the children that it waited for.
func processorTime(p *os.ProcessState) time.Duration { return p.UserTime() + p.SystemTime() }

func (r result) String() string {
	return fmt.Sprintf("poolctl %s: exit %d after %s\nstdout: %s\nstderr: %s", strings.Join(r.args, " "), r.code, r.took.Round(time.Millisecond), r.stdout, r.stderr)
}

// What this run of the suite has made so far: the number of its networks, and the state directories of its hosts.
var (
	bridges atomic.Int32
	hosts   sync.Map
)

// bridgePrefix begins the names of this run's networks; an interface name has at most 15 characters.
func bridgePrefix() string { return fmt.Sprintf("e2e%x-", os.Getpid()&0xffffff) }

// newHost makes an empty state directory. When the test ends, everything in it is deleted with the program's own
// commands, and the test fails if something of it is left on the machine.
func newHost(t *testing.T) *host {
	t.Helper()
	dir, err := os.MkdirTemp(suite.dir, regexp.MustCompile(`\W+`).ReplaceAllString(t.Name(), "-")+".")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, dir: dir, state: filepath.Join(dir, "state"), program: suite.program}
	h.env = append(os.Environ(), "POOLCTL_DIR="+h.state)
	hosts.Store(h.state, nil)
	t.Cleanup(func() { h.close() })
	return h
}

// withPool gives the host a 2 GiB pool called default and a bridge, as `admin init` does, but with a bridge of its own.
func (h *host) withPool() *host {
	h.t.Helper()
	h.bridge = bridgePrefix() + strconv.Itoa(int(bridges.Add(1)))
	preseed := fmt.Sprintf(`storage_pools:
- {name: default, driver: btrfs, config: {size: 2GiB}}
networks:
- {name: %[1]s, type: bridge, config: {ipv4.address: auto, ipv6.address: auto}}
profiles:
- name: default
  devices:
    root: {path: /, pool: default, type: disk}
    eth0: {name: eth0, network: %[1]s, type: nic}
`, h.bridge)
	h.okStdin(preseed, "admin", "init", "--preseed")
	return h
}

// withRemote adds the mirror as the remote "m".
func (h *host) withRemote(m *fixtures.Server) *host {
	h.t.Helper()
	h.env = append(h.env, "SSL_CERT_FILE="+m.CertFile)
	h.ok("remote", "add", "m", m.URL, "--protocol=simplestreams", "--public")
	return h
}

// in reports to the subtest for as long as that runs.
func (h *host) in(t *testing.T) {
	t.Helper()
	outer := h.t
	h.t = t
	t.Cleanup(func() { h.t = outer })
}

// command prepares one run of the program.
func (h *host) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.program, args...)
	cmd.Env = h.env
	cmd.Dir = h.dir
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// run runs a command to its end, at most two minutes.
func (h *host) run(args ...string) result {
	h.t.Helper()
	return h.runStdin("", args...)
}

func (h *host) runStdin(stdin string, args ...string) result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return h.finish(h.command(ctx, args...), stdin)
}

// finish runs a prepared command.
func (h *host) finish(cmd *exec.Cmd, stdin string) result {
	h.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	r := result{args: cmd.Args[1:], stdout: stdout.String(), stderr: stderr.String(), took: time.Since(began)}
	if cmd.ProcessState != nil {
		r.cpu = processorTime(cmd.ProcessState)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		h.t.Fatalf("cannot run poolctl %s: %v\n%s", strings.Join(r.args, " "), err, r.stderr)
	}
	return r
}

// ok runs a command that must succeed and returns its output.
func (h *host) ok(args ...string) string {
	h.t.Helper()
	return h.okStdin("", args...)
}

func (h *host) okStdin(stdin string, args ...string) string {
	h.t.Helper()
	r := h.runStdin(stdin, args...)
	if r.code != 0 {
		h.t.Fatalf("%s", r)
	}
	return r.stdout
}

// fails runs a command that must fail with the exit status and an error line that matches the expression; nothing may
// be on stdout, and the first line must begin with "error: ".
func (h *host) fails(code int, want string, args ...string) result {
	h.t.Helper()
	r := h.run(args...)
	h.failed(r, code, want)
	return r
}

func (h *host) failed(r result, code int, want string) {
	h.t.Helper()
	if r.code != code {
		h.t.Errorf("want exit status %d: %s", code, r)
	}
	if !regexp.MustCompile(want).MatchString(r.stderr) {
		h.t.Errorf("want an error like %q: %s", want, r)
	}
	if !regexp.MustCompile(`(?m)^error: `).MatchString(r.stderr) {
		h.t.Errorf("want a line that begins with \"error: \": %s", r)
	}
	if strings.Contains(r.stderr, "panic") || strings.Contains(r.stderr, "goroutine ") {
		h.t.Errorf("it panicked: %s", r)
	}
}

// matches runs a command that must succeed with output that matches the expression.
func (h *host) matches(want string, args ...string) string {
	h.t.Helper()
	out := h.ok(args...)
	if !regexp.MustCompile(want).MatchString(out) {
		h.t.Errorf("poolctl %s: want %q in\n%s", strings.Join(args, " "), want, out)
	}
	return out
}

// eventually repeats a command until its output matches, at most ten seconds.
func (h *host) eventually(want string, args ...string) {
	h.t.Helper()
	re := regexp.MustCompile(want)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r := h.run(args...)
		if r.code == 0 && re.MatchString(r.stdout) {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("want %q: %s", want, r)
		}
	}
}

// until waits for a condition, at most ten seconds.
func (h *host) until(what string, holds func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

// instance is what `list --format json` says of an instance, as far as the tests look.
type instance struct {
	Name, Status, Problem string
	Snapshots             []struct{ Name string }
	Profiles              []string
	ExpandedConfig        map[string]string `json:"expanded_config"`
	State                 *struct {
		PID     int
		Network json.RawMessage
	}
}

// instances lists the instances by name.
func (h *host) instances() map[string]instance {
	h.t.Helper()
	var list []instance
	h.json(&list, "list")
	out := map[string]instance{}
	for _, in := range list {
		out[in.Name] = in
	}
	return out
}

// images lists the images by fingerprint.
func (h *host) images() map[string]struct{ Aliases []struct{ Name string } } {
	h.t.Helper()
	var list []struct {
		Fingerprint string
		Aliases     []struct{ Name string }
	}
	h.json(&list, "image", "list")
	out := map[string]struct{ Aliases []struct{ Name string } }{}
	for _, im := range list {
		out[im.Fingerprint] = struct{ Aliases []struct{ Name string } }{im.Aliases}
	}
	return out
}

// names lists the names of pools or networks, or of whatever a list command lists.
func (h *host) names(args ...string) []string {
	h.t.Helper()
	var list []struct{ Name string }
	h.json(&list, args...)
	var out []string
	for _, e := range list {
		out = append(out, e.Name)
	}
	return out
}

func (h *host) json(v any, args ...string) {
	h.t.Helper()
	out := h.ok(append(args, "--format", "json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		h.t.Fatalf("poolctl %s: cannot read its JSON: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// mine lists what belongs to this host on the machine now.
func (h *host) mine() machine {
	h.t.Helper()
	m, err := lookAround()
	if err != nil {
		h.t.Fatal(err)
	}
	return m.below(h.state)
}

// close deletes everything with the program and checks that nothing is left.
func (h *host) close() {
	h.program = suite.program
	if _, err := os.Stat(h.state); err == nil {
		for name := range h.instances() {
			h.run("delete", "--force", name)
		}
		for _, pool := range h.names("pool", "list") {
			if r := h.run("pool", "delete", pool, "--force"); r.code != 0 {
				h.t.Errorf("clean-up: %s", r)
			}
		}
		if h.bridge != "" {
			if r := h.run("network", "delete", h.bridge); r.code != 0 {
				h.t.Errorf("clean-up: %s", r)
			}
		}
	}
	left, err := settle(nil, func(m machine) machine { return m.below(h.state) }, 5*time.Second)
	if err != nil {
		h.t.Error(err)
	}
	if len(left) > 0 {
		h.t.Errorf("left on the machine:\n  %s", strings.Join(left, "\n  "))
	}
	for _, dir := range []string{"journal", "disks", "pools", "networks", "storage-pools", "run/instances"} {
		if entries, err := os.ReadDir(filepath.Join(h.state, dir)); err == nil && len(entries) > 0 {
			h.t.Errorf("left in %s: %v", dir, entries)
		}
	}
	if h.bridge != "" {
		if _, err := os.Lstat("/sys/class/net/" + h.bridge); err == nil {
			h.t.Errorf("left on the machine: bridge %s", h.bridge)
		}
	}
	if !h.t.Failed() {
		if err := os.RemoveAll(h.dir); err != nil {
			h.t.Error(err)
		}
	}
}

// cgroupOf is the name of the cgroup below which a state directory's instances live.
func cgroupOf(state string) string {
	sum := sha256.Sum256([]byte(state))
	return "/poolctl/" + hex.EncodeToString(sum[:4])
}
