package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// MissingError names something that the host lacks, and how to get it.
type MissingError struct {
	What string
	How  string
}

func (e *MissingError) Error() string { return e.What + " is missing" }

// Hint tells the user how to get what is missing.
func (e *MissingError) Hint() string { return e.How }

func (b Bridge) pidFile() string   { return filepath.Join(b.RunDir, "dnsmasq.pid") }
func (b Bridge) leaseFile() string { return filepath.Join(b.RunDir, "dnsmasq.leases") }

const (
	// leaseTime is short, as LXD's: an instance that takes another's hardware
	// address over waits no longer than this.
	leaseTime = "1h"
	// startTimeout is how long dnsmasq may take until it serves.
	startTimeout = 10 * time.Second
	// stopTimeout is how long it may take to end by itself.
	stopTimeout = 2 * time.Second
)

// dnsmasqArgs are the arguments of the network's dnsmasq (man dnsmasq), without
// its own path. It answers DHCP with the reserved addresses and nothing else
// ("static"), and advertises the IPv6 prefix for SLAAC ("ra-only") without an
// end: the address that Attach sets must not end with an advertisement's.
func (b Bridge) dnsmasqArgs(user string) []string {
	args := []string{
		"--conf-file=/dev/null", "--pid-file=" + b.pidFile(), "--user=" + user,
		"--interface=" + b.Name, "--except-interface=lo", "--bind-interfaces",
		"--no-resolv", "--no-hosts", "--port=0",
		"--dhcp-authoritative", "--dhcp-rapid-commit", "--dhcp-no-override", "--no-ping",
		"--quiet-dhcp", "--quiet-dhcp6", "--quiet-ra",
		"--dhcp-hostsdir=" + b.hostsDir(), "--dhcp-leasefile=" + b.leaseFile(),
	}
	if b.IPv4.IsValid() {
		mask := ipNet(b.IPv4).Mask
		args = append(args, fmt.Sprintf("--dhcp-range=%s,static,%d.%d.%d.%d,%s",
			b.IPv4.Masked().Addr(), mask[0], mask[1], mask[2], mask[3], leaseTime))
	}
	if b.IPv6.IsValid() {
		args = append(args, "--enable-ra", "--dhcp-range=::,constructor:"+b.Name+",ra-only,64,infinite")
	}
	return args
}

// ensureDnsmasq starts dnsmasq unless it runs with the right arguments; with
// other ones it is started anew. Without any address family it does not run.
func (b Bridge) ensureDnsmasq(ctx context.Context) error {
	running, err := b.findDnsmasq()
	if err != nil {
		return err
	}
	if running != nil {
		running.Close()
	}
	if !b.IPv4.IsValid() && !b.IPv6.IsValid() {
		return b.stopDnsmasq(ctx)
	}
	args := b.dnsmasqArgs(b.dnsmasqUser())
	if running != nil {
		if slices.Equal(running.args[1:], args) {
			return nil
		}
		if err := b.stopDnsmasq(ctx); err != nil {
			return err
		}
	}
	path, err := findProgram("dnsmasq")
	if err != nil {
		return &MissingError{What: "dnsmasq", How: "apt-get install dnsmasq-base"}
	}
	return startDnsmasq(ctx, path, args)
}

// startDnsmasq runs dnsmasq, which returns once it serves: its own child goes
// on in the background, in a session of its own, and outlives the caller.
func startDnsmasq(ctx context.Context, path string, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.Stderr = &stderr
	// Should the background process keep standard error open, Run would wait for it.
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		if msg := strings.TrimSpace(stderr.String()); msg != "" {
			return fmt.Errorf("cannot start dnsmasq: %s (%w)", strings.Join(strings.Fields(msg), " "), err)
		}
		return fmt.Errorf("cannot start dnsmasq: %w", err)
	}
	return nil
}

// findProgram looks in $PATH, and where Debian has programs for root when $PATH
// leaves that out (su without a login).
func findProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return exec.LookPath(filepath.Join("/usr/sbin", name))
}

// dnsmasqUser is whom dnsmasq becomes once it has its sockets: its package's own
// user. Where that could not reach the network's directories (a state directory
// below one that is only root's), it stays root.
func (b Bridge) dnsmasqUser() string {
	const name = "dnsmasq"
	if _, err := user.Lookup(name); err != nil {
		return "root"
	}
	for _, dir := range []string{b.hostsDir(), b.RunDir} {
		for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
			if st, err := os.Stat(dir); err != nil || st.Mode().Perm()&0o001 == 0 {
				return "root"
			}
		}
	}
	return name
}

// stopDnsmasq ends the network's dnsmasq: SIGTERM, and SIGKILL after a while.
func (b Bridge) stopDnsmasq(ctx context.Context) error {
	p, err := b.findDnsmasq()
	if err != nil || p == nil {
		return err
	}
	defer p.Close()
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := p.signal(ctx, sig); err != nil {
			return err
		}
		ended, err := p.wait(ctx, stopTimeout)
		if err != nil {
			return err
		}
		if ended {
			return nil
		}
	}
	return fmt.Errorf("cannot end dnsmasq (process %d): it does not react to SIGKILL", p.pid)
}
