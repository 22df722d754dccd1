package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestProxyDevices: connections from the host into an instance and back, by all kinds of sockets, of devices that come
// and go, are killed and deleted.
func TestProxyDevices(t *testing.T) {
	h := opHost(t)
	dir := t.TempDir()
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	go serveEcho(host)
	_, hostPort, err := net.SplitHostPort(host.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	base := 24000 + os.Getpid()%500*16
	at := func(n int) string { return fmt.Sprintf("127.0.0.1:%d", base+n) }

	h.ok("init", "bb", "c1")
	h.ok("config", "device", "add", "c1", "web", "proxy", "listen=tcp:"+at(0), "connect=tcp:127.0.0.1:80")
	h.ok("config", "device", "add", "c1", "file", "proxy", "listen=unix:"+dir+"/web", "connect=tcp:127.0.0.1:80", "uid=1", "gid=2", "mode=0660")
	h.ok("start", "c1")
	h.ok("exec", "c1", "--", "sh", "-c", "ip link set lo up; mkdir -p /srv/www; echo content > /srv/www/index.html; httpd -p 80 -h /srv/www")
	get := func(kind, address string) string {
		t.Helper()
		c, err := net.DialTimeout(kind, address, 5*time.Second)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.WriteString(c, "GET /index.html HTTP/1.0\r\n\r\n"); err != nil {
			return err.Error()
		}
		data, err := io.ReadAll(c)
		if err != nil {
			return err.Error()
		}
		return string(data)
	}
	serves := func(kind, address string) {
		t.Helper()
		var got string
		for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if got = get(kind, address); strings.HasSuffix(got, "content\n") {
				return
			}
		}
		t.Fatalf("%s: %q", address, got)
	}
	closed := func(address string) {
		t.Helper()
		if got := get("tcp", address); !strings.Contains(got, "refused") {
			t.Errorf("%s: %q", address, got)
		}
	}
	serves("tcp", at(0))
	serves("unix", dir+"/web")
	var st unix.Stat_t
	if err := unix.Lstat(dir+"/web", &st); err != nil || st.Uid != 1 || st.Gid != 2 || st.Mode&0o777 != 0o660 {
		t.Errorf("%d:%d %o, %v", st.Uid, st.Gid, st.Mode, err)
	}

	// Added to one that runs: a range, a path inside, from inside, udp.
	h.ok("config", "device", "add", "c1", "range", "proxy", fmt.Sprintf("listen=tcp:127.0.0.1:%d-%d,%d", base+1, base+3, base+5), "connect=tcp:127.0.0.1:80")
	for _, n := range []int{1, 3, 5} {
		serves("tcp", at(n))
	}
	closed(at(4))
	h.ok("config", "device", "add", "c1", "out", "proxy", "bind=instance", "listen=tcp:127.0.0.1:8000", fmt.Sprintf("connect=tcp:127.0.0.1:%s", hostPort))
	h.ok("config", "device", "add", "c1", "sock", "proxy", "bind=instance", "listen=unix:/srv/host", fmt.Sprintf("connect=tcp:127.0.0.1:%s", hostPort), "uid=5")
	h.ok("config", "device", "add", "c1", "back", "proxy", "listen=tcp:"+at(6), "connect=unix:/srv/host")
	h.matches(`^hello\n$`, "exec", "c1", "--", "sh", "-c", "echo hello | nc 127.0.0.1 8000")
	h.matches(`^srw-r--r-- 1 5 0 `, "exec", "c1", "--", "sh", "-c", "ls -ln /srv/host | tr -s ' '")
	if got := talk(t, "tcp", at(6), "there and back\n"); got != "there and back\n" {
		t.Errorf("by a socket in the instance: %q", got)
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(append([]byte("udp "), buf[:n]...), from)
		}
	}()
	h.ok("config", "device", "add", "c1", "udpout", "proxy", "bind=guest", "listen=udp:127.0.0.1:53", "connect=udp:"+udp.LocalAddr().String())
	h.ok("config", "device", "add", "c1", "udpin", "proxy", "listen=udp:"+at(7), "connect=udp:127.0.0.1:53")
	if got := talk(t, "udp", at(7), "hello"); got != "udp hello" {
		t.Errorf("udp: %q", got)
	}
	h.ok("config", "device", "add", "c1", "header", "proxy", "bind=instance", "listen=tcp:127.0.0.1:8001", fmt.Sprintf("connect=tcp:127.0.0.1:%s", hostPort), "proxy_protocol=true")
	h.matches(`^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ 8001\r\nhello\n$`, "exec", "c1", "--", "sh", "-c", "echo hello | nc 127.0.0.1 8001")

	// Changed, and taken back when that does not work.
	h.ok("config", "device", "set", "c1", "web", "listen=tcp:"+at(8))
	closed(at(0))
	serves("tcp", at(8))
	h.fails(1, fmt.Sprintf(`device web: cannot listen on tcp:127\.0\.0\.1:%s: address already in use`, hostPort), "config", "device", "set", "c1", "web", fmt.Sprintf("listen=tcp:127.0.0.1:%s", hostPort))
	serves("tcp", at(8))
	h.matches(`^tcp:`+at(8)+`\n$`, "config", "device", "get", "c1", "web", "listen")

	// By the kernel; the address that the nic has may change.
	subnet, err := netip.ParsePrefix(strings.TrimSpace(h.ok("network", "get", h.bridge, "ipv4.address")))
	if err != nil {
		t.Fatal(err)
	}
	fixed := func(n byte) string {
		b := subnet.Addr().As4()
		b[3] = n
		return netip.AddrFrom4(b).String()
	}
	gateway := fmt.Sprintf("%s:%d", subnet.Addr(), base+9)
	h.ok("config", "device", "override", "c1", "eth0", "ipv4.address="+fixed(77))
	h.ok("config", "device", "add", "c1", "nat", "proxy", "listen=tcp:"+gateway, "connect=tcp:0.0.0.0:80", "nat=true")
	serves("tcp", gateway)
	h.ok("config", "device", "set", "c1", "eth0", "ipv4.address="+fixed(78))
	serves("tcp", gateway)
	h.fails(1, `device nat: nat needs a nic that has an address for good`, "config", "device", "unset", "c1", "eth0", "ipv4.address")
	serves("tcp", gateway)
	h.ok("config", "device", "remove", "c1", "nat")
	closed(gateway)
	h.ok("config", "device", "remove", "c1", "eth0")

	for _, c := range []struct {
		want string
		keys []string
	}{
		{`it has no listen\nhint: listen=tcp:ADDRESS:PORT`, nil},
		{`it has no connect`, []string{"listen=tcp:127.0.0.1:1"}},
		{`listen: invalid address "tcp:localhost:1": "localhost" is no IP address`, []string{"listen=tcp:localhost:1", "connect=tcp:127.0.0.1:1"}},
		{`connect: invalid address "tcp:127.0.0.1": it has no port`, []string{"listen=tcp:127.0.0.1:1", "connect=tcp:127.0.0.1"}},
		{`2 ports and tcp:127.0.0.1:1-3 has 3: want one`, []string{"listen=tcp:127.0.0.1:1-2", "connect=tcp:127.0.0.1:1-3"}},
		{`invalid bind "here"`, []string{"listen=tcp:127.0.0.1:1", "connect=tcp:127.0.0.1:1", "bind=here"}},
		{`uid is for a socket with a path`, []string{"listen=tcp:127.0.0.1:1", "connect=tcp:127.0.0.1:1", "uid=0"}},
		{`mode is for a socket with a path`, []string{"listen=unix:@x", "connect=tcp:127.0.0.1:1", "mode=0600"}},
		{`invalid mode "999"`, []string{"listen=unix:/x", "connect=tcp:127.0.0.1:1", "mode=999"}},
		{`invalid security.uid "-1"`, []string{"listen=unix:/x", "connect=tcp:127.0.0.1:1", "security.uid=-1"}},
		{`the PROXY protocol is for connections to tcp`, []string{"listen=tcp:127.0.0.1:1", "connect=udp:127.0.0.1:1", "proxy_protocol=true"}},
		{`nat=maybe`, []string{"listen=tcp:127.0.0.1:1", "connect=tcp:127.0.0.1:1", "nat=maybe"}},
		{`nat needs an address of the host to listen on, not 0.0.0.0`, []string{"listen=tcp:0.0.0.0:1", "connect=tcp:0.0.0.0:1", "nat=true"}},
		{`nat is from tcp to tcp, or from udp to udp, not from tcp to udp`, []string{"listen=tcp:192.0.2.1:1", "connect=udp:0.0.0.0:1", "nat=true"}},
		{`nat is for what listens on the host`, []string{"listen=tcp:192.0.2.1:1", "connect=tcp:0.0.0.0:1", "nat=true", "bind=instance"}},
		{`nat needs a nic that has an address for good`, []string{"listen=tcp:192.0.2.1:1", "connect=tcp:0.0.0.0:1", "nat=true"}},
		{`unknown key "port"`, []string{"listen=tcp:127.0.0.1:1", "connect=tcp:127.0.0.1:1", "port=1"}},
		{`devices web and x both listen on tcp port ` + strconv.Itoa(base+8), []string{fmt.Sprintf("listen=tcp:0.0.0.0:%d", base+8), "connect=tcp:127.0.0.1:1"}},
		{`device x: cannot listen on unix:/etc/passwd: there is something else than a socket`, []string{"listen=unix:/etc/passwd", "connect=tcp:127.0.0.1:1"}},
		{`device x: cannot listen on tcp:192.0.2.99:1: cannot assign requested address`, []string{"listen=tcp:192.0.2.99:1", "connect=tcp:127.0.0.1:1"}},
	} {
		h.fails(1, c.want, append([]string{"config", "device", "add", "c1", "x", "proxy"}, c.keys...)...)
	}
	h.ok("init", "bb", "c2")
	h.ok("config", "device", "add", "c2", "mine", "proxy", "listen=tcp:"+at(8), "connect=tcp:127.0.0.1:80")
	h.fails(1, `cannot start c2: device mine: device web of instance c1 listens on tcp port `+strconv.Itoa(base+8), "start", "c2")
	h.ok("delete", "c2")

	// Killed processes come back; a restart and a delete leave nothing.
	relays := func() (pids []int) {
		dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, d := range dirs {
			data, _ := os.ReadFile(d)
			if strings.HasPrefix(string(data), "poolctl-proxy\x00c1\x00") && strings.Contains(string(data), "=tcp:127.0.0.1:80\x00") {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(d)))
				pids = append(pids, pid)
			}
		}
		return pids
	}
	for _, pid := range relays() {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	serves("tcp", at(8))
	serves("tcp", at(2))
	serves("unix", dir+"/web")
	h.ok("config", "device", "remove", "c1", "range", "out", "header")
	closed(at(1))
	h.ok("restart", "--force", "c1")
	h.ok("exec", "c1", "--", "sh", "-c", "ip link set lo up; httpd -p 80 -h /srv/www")
	serves("tcp", at(8))
	h.ok("delete", "--force", "c1")
	closed(at(8))
	if _, err := os.Lstat(dir + "/web"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its socket is left: %v", err)
	}
	if left, _ := exec.CommandContext(t.Context(), "pgrep", "-f", "^poolctl-proxy c1 ").Output(); len(left) > 0 && len(relays()) > 0 {
		t.Errorf("processes are left: %s", left)
	}
}

func serveEcho(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(c, c)
			c.Close()
		}()
	}
}

// talk says something and returns what comes back, as long as what was said or longer.
func talk(t *testing.T, kind, address, text string) string {
	t.Helper()
	c, err := net.DialTimeout(kind, address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := bufio.NewReader(c).Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}
