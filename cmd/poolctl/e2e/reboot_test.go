package e2e

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestReboot: what systemd runs at the boot brings networks and instances back, with the same addresses, names and rules,
// after the kernel has lost all that there was of them; with a run directory that was lost too, and with one of the boot
// before.
func TestReboot(t *testing.T) {
	h := newHost(t).withPool()
	networks := []string{h.bridge, h.bridge + "b"} // nothing is on the second one
	h.ok("network", "create", networks[1], "ipv6.address=none")
	names := []string{"c1", "c2"}
	for _, n := range names {
		h.ok("create", "--template", "busybox", n)
	}
	h.ok(append([]string{"start"}, names...)...)
	all := func() string {
		t.Helper()
		out := h.ok("list", "--format", "csv", "-c", "ns46") + h.ok("network", "list-leases", networks[0], "--format", "csv") + strings.Join(tablesOf(t, h, networks, names), "\n")
		for _, n := range networks {
			links, err := exec.Command("ip", "-o", "addr", "show", "dev", n).CombinedOutput()
			if err != nil {
				return n + " is not there"
			}
			for _, m := range regexp.MustCompile(`inet6? \S+ `).FindAllString(string(links), -1) {
				out += "\n" + n + " " + m
			}
		}
		return out
	}
	before := all()
	if strings.Count(before, "RUNNING") != 2 || strings.Count(before, "table ") < 2 {
		t.Fatalf("%s", before)
	}
	commands := regexp.MustCompile(`(?m)^ExecStart=-?(.*)$`).FindAllStringSubmatch(h.ok("admin", "systemd"), -1)
	if len(commands) == 0 {
		t.Fatal("the unit starts nothing")
	}
	for _, lost := range []bool{true, false} {
		powerLoss(t, h, networks, names)
		run := filepath.Join(h.state, "run")
		if lost {
			if err := os.RemoveAll(run); err != nil {
				t.Fatal(err)
			}
		} else {
			otherBoot(t, run)
		}
		for _, c := range commands {
			if out, err := exec.Command("sh", "-c", c[1]).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", c[1], err, out)
			}
		}
		h.until("all is as before", func() bool { return all() == before })
		if after := all(); after != before {
			t.Fatalf("it was\n%s\nand is\n%s", before, after)
		}
		h.eventually(`bytes from`, "exec", "c1", "--", "ping", "-4", "-c1", "-W2", "c2.lxd")
		h.eventually(`bytes from`, "exec", "c1", "--", "ping", "-6", "-c1", "-W2", "c2")
	}
	h.ok("delete", "--force", "c1", "c2")
	h.ok("network", "delete", networks[1])
}

// tablesOf are the tables of nftables that belong to networks and instances.
func tablesOf(t *testing.T, h *host, networks, names []string) (out []string) {
	t.Helper()
	list, err := exec.Command("nft", "list", "tables").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v: %s", err, list)
	}
	for line := range strings.Lines(string(list)) {
		_, of, _ := strings.Cut(strings.TrimSpace(line), "poolctl_")
		if slices.Contains(networks, of) || slices.ContainsFunc(names, func(n string) bool { return of != "" && of == hostName(h, n) }) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	slices.Sort(out)
	return out
}

func hostName(h *host, instance string) string {
	return strings.TrimSpace(h.ok("config", "get", instance, "volatile.eth0.host_name"))
}

// powerLoss ends all that runs, and takes from the kernel what a reboot takes: processes, interfaces, rules and mounts.
func powerLoss(t *testing.T, h *host, networks, names []string) {
	t.Helper()
	tables := tablesOf(t, h, networks, names)
	var links []string
	for _, n := range names {
		links = append(links, hostName(h, n))
	}
	var pids []int
	for _, n := range names {
		var st struct {
			Init       int `json:"init_pid"`
			Supervisor int `json:"supervisor_pid"`
		}
		text, err := os.ReadFile(filepath.Join(h.state, "run/instances", n, "state.json"))
		if err == nil {
			err = json.Unmarshal(text, &st)
		}
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, st.Supervisor, st.Init) // the supervisor first: it would clean up
	}
	for _, n := range networks {
		text, err := os.ReadFile(filepath.Join(h.state, "run/networks", n, "dnsmasq.pid"))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range pids {
		h.until("process "+strconv.Itoa(pid)+" has ended", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
	}
	for _, l := range append(links, networks...) {
		_ = exec.Command("ip", "link", "delete", l).Run() // those of instances go by themselves, sooner or later
		if _, err := os.Lstat("/sys/class/net/" + l); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s is still there: %v", l, err)
		}
	}
	for _, table := range tables {
		if out, err := exec.Command("nft", append([]string{"delete"}, strings.Fields(table)...)...).CombinedOutput(); err != nil {
			t.Fatalf("nft delete %s: %v: %s", table, err, out)
		}
	}
	h.until("the pool is unmounted", func() bool {
		err := syscall.Unmount(filepath.Join(h.state, "storage-pools/default"), 0)
		return err == nil || errors.Is(err, syscall.EINVAL)
	})
}

// otherBoot has all files below a directory that say in which boot they were written be of another one.
func otherBoot(t *testing.T, dir string) {
	t.Helper()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	id, changed := strings.TrimSpace(string(boot)), 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), id) {
			return err
		}
		changed++
		return os.WriteFile(path, []byte(strings.ReplaceAll(string(text), id, "00000000-0000-4000-8000-000000000000")), 0o600)
	})
	if err != nil || changed < 2 {
		t.Fatalf("%d files say the boot, %v", changed, err)
	}
}
