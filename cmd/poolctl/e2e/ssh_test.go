package e2e

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poolctl/fixtures"
)

// TestSSH: `ssh user@ADDRESS` from the host into Debian, over IPv4 and IPv6 and through a proxy device, with a key, and a
// host key that was made in the instance and is checked.
func TestSSH(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, debianMirror, fixtures.ServeOptions{}))
	h.ok("launch", "m:debian", "deb")
	if state := systemState(h, "deb"); state != "running" && state != "degraded" { // until then, who is not root cannot log in
		t.Fatalf("systemd is %q", state)
	}
	inside := func(script string) string {
		t.Helper()
		return h.ok("exec", "deb", "--", "sh", "-ec", script)
	}
	inside(`[ ! -e /etc/ssh/ssh_host_ed25519_key ]; ssh-keygen -A; systemctl enable --now ssh; useradd --create-home --shell /bin/sh user`)
	key, other := h.sshKey("key"), h.sshKey("other")
	h.ok("file", "push", key+".pub", "deb/home/user/.ssh/authorized_keys", "--create-dirs")
	inside(`chown -R user: /home/user/.ssh; chmod 700 /home/user/.ssh; chmod 600 /home/user/.ssh/authorized_keys`)
	hostKey := strings.Fields(inside(`cat /etc/ssh/ssh_host_ed25519_key.pub`))
	if len(hostKey) < 2 {
		t.Fatalf("host key %q", hostKey)
	}
	known := filepath.Join(h.dir, "known_hosts")
	if err := os.WriteFile(known, []byte("* "+hostKey[0]+" "+hostKey[1]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freeTCPPort(t)
	h.ok("config", "device", "add", "deb", "ssh", "proxy", "listen=tcp:127.0.0.1:"+port, "connect=tcp:127.0.0.1:22")
	places := [][2]string{{"127.0.0.1", port}}
	for _, column := range []string{"4", "6"} {
		address, _, _ := strings.Cut(h.ok("list", "deb", "--format", "csv", "-c", column), " ")
		places = append(places, [2]string{address, "22"})
	}
	for _, at := range places {
		out, code := h.ssh(at, key, known, "id -un; hostname; cat; exit 7")
		if code != 7 || !strings.HasPrefix(out, "user\ndeb\nthrough ssh\n") {
			t.Errorf("ssh user@%s: exit code %d: %s", at, code, out)
		}
		if out, code := h.ssh(at, other, known, "true"); code != 255 || !strings.Contains(out, "Permission denied (publickey") {
			t.Errorf("ssh user@%s with another key: exit code %d: %s", at, code, out)
		}
	}
}

// freeTCPPort is a port of 127.0.0.1 that nobody listens on.
func freeTCPPort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	return port
}

// sshKey makes a key pair without a passphrase.
func (h *host) sshKey(name string) string {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if out, err := exec.CommandContext(h.t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path).CombinedOutput(); err != nil {
		h.t.Fatalf("ssh-keygen (package openssh-client): %v: %s", err, out)
	}
	return path
}

// ssh runs a command as user at an address and port that answer with a known key, and returns what it and ssh write.
func (h *host) ssh(at [2]string, key, known, command string) (string, int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", "-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile="+known,
		"-o", "GlobalKnownHostsFile=none", "-p", at[1], "user@"+at[0], command)
	cmd.Stdin = strings.NewReader("through ssh\n")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return string(out), exit.ExitCode()
	case err != nil:
		h.t.Fatalf("ssh (package openssh-client): %v", err)
	}
	return string(out), 0
}
