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
	// startTimeout is how long dnsmasq may take until it serves.
	startTimeout = 10 * time.Second
	// stopTimeout is how long it may take to end by itself.
	stopTimeout = 2 * time.Second
)

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
	} else if err := b.awaitDying(ctx); err != nil {
		return err
	}
	path, err := findDnsmasqProgram()
	if err != nil {
		return err
	}
	if err := b.writeRaw(); err != nil {
		return err
	}
	return startDnsmasq(ctx, path, args)
}

func findDnsmasqProgram() (string, error) {
	path, err := findProgram("dnsmasq")
	if err != nil {
		return "", &MissingError{What: "dnsmasq", How: "apt-get install dnsmasq-base"}
	}
	return path, nil
}

// startDnsmasq runs dnsmasq, which returns once it serves: its own child goes
// on in the background, in a session of its own, and outlives the caller.
func startDnsmasq(ctx context.Context, path string, args []string) error {
	if msg, err := runDnsmasq(ctx, path, args); err != nil {
		if msg != "" {
			return fmt.Errorf("cannot start dnsmasq: %s (%w)", msg, err)
		}
		return fmt.Errorf("cannot start dnsmasq: %w", err)
	}
	return nil
}

// runDnsmasq runs dnsmasq until it has ended or is in the background, and returns
// what it says on standard error, in one line.
func runDnsmasq(ctx context.Context, path string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.Stderr = &stderr
	// Should the background process keep standard error open, Run would wait for it.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return strings.Join(strings.Fields(stderr.String()), " "), err
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
