package proxy

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/join"
)

// echo answers everything until the other side says that this was all.
func echo(l net.Listener) {
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

// echoDatagrams does so for udp, each with a mark.
func (g *guest) echoDatagrams(t *testing.T, inside bool, a Address) {
	t.Helper()
	var p net.PacketConn
	var err error
	do := func() { p, err = net.ListenPacket("udp", net.JoinHostPort(a.IP.String(), fmt.Sprint(a.Ports[0]))) }
	if inside {
		g.in(t, do)
	} else {
		do()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(buf[:n], from)
		}
	}()
}

func (g *guest) serve(t *testing.T, inside bool, a Address) {
	t.Helper()
	if a.Kind == UDP {
		g.echoDatagrams(t, inside, a)
		return
	}
	go echo(g.listen(t, inside, a))
}

// TestKinds passes something on between all kinds of addresses, in both directions.
func TestKinds(t *testing.T) {
	g := newGuest(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, inside := range []bool{false, true} {
		for _, listen := range []string{"tcp:127.0.0.1:%d", "tcp:[::1]:%d", "udp:127.0.0.1:%d", "udp:[::1]:%d", "unix:%s/listen%d", "unix:@poolctl-test-listen%d"} {
			for _, connect := range []string{"tcp:127.0.0.1:%d", "tcp:[::1]:%d", "udp:127.0.0.1:%d", "unix:%s/connect%d", "unix:@poolctl-test-connect%d"} {
				n++
				listenDir, connectDir := dir, "/mnt"
				if inside {
					listenDir, connectDir = "/mnt", dir
				}
				a, b := place(t, listen, listenDir, 21000+n), place(t, connect, connectDir, 22000+n)
				t.Run(fmt.Sprintf("%s to %s, inside %v", a, b, inside), func(t *testing.T) {
					g.serve(t, !inside, b)
					g.start(t, Device{Listen: a, Connect: b, Inside: inside})
					c := g.dial(t, inside, a, 0)
					for _, text := range []string{"hello", strings.Repeat("x", 8000)} {
						if _, err := c.Write([]byte(text)); err != nil {
							t.Fatal(err)
						}
						got := make([]byte, len(text))
						if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
							t.Fatal(err)
						}
						if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
							t.Fatalf("%d bytes, %v; want %d", len(got), err, len(text))
						}
					}
				})
			}
		}
	}
}

func place(t *testing.T, form, dir string, n int) Address {
	t.Helper()
	if strings.Contains(form, "%s") {
		return mustParse(t, fmt.Sprintf(form, dir, n))
	}
	return mustParse(t, fmt.Sprintf(form, n))
}

// TestLarge passes on more than any buffer holds, both ways at once, and the end of
// each direction alone.
func TestLarge(t *testing.T) {
	g := newGuest(t)
	dir := t.TempDir()
	data := make([]byte, 24<<20)
	_, _ = rand.Read(data)
	for i, c := range [][2]string{
		{"tcp:127.0.0.1:21100", "tcp:127.0.0.1:22100"},
		{"tcp:127.0.0.1:21101", "unix:/mnt/large"},
		{"unix:" + dir + "/large", "tcp:127.0.0.1:22101"},
		{"unix:" + dir + "/both", "unix:/mnt/both"},
	} {
		a, b := mustParse(t, c[0]), mustParse(t, c[1])
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			g.serve(t, true, b)
			g.start(t, Device{Listen: a, Connect: b})
			conn := g.dial(t, false, a, 0)
			half := as[interface{ CloseWrite() error }](t, conn)
			go func() {
				_, _ = conn.Write(data)
				_ = half.CloseWrite()
			}()
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes came back of %d: %v", len(got), len(data), err)
			}
		})
	}
}

// TestSlow: what a slow target does not take is not read.
func TestSlow(t *testing.T) {
	g := newGuest(t)
	a, b := mustParse(t, "tcp:127.0.0.1:21200"), mustParse(t, "tcp:127.0.0.1:22200")
	l := g.listen(t, true, b)
	r := g.start(t, Device{Listen: a, Connect: b})
	c := g.dial(t, false, a, 0)
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	sent, err := c.Write(make([]byte, 64<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes were taken for a target that reads nothing: %v", sent, err)
	}
	before := cpuTime(t, r.PID)
	time.Sleep(300 * time.Millisecond)
	if used := cpuTime(t, r.PID) - before; used > 5 {
		t.Errorf("waiting took %d ticks", used)
	}
	c.Close()
	if n, err := io.Copy(io.Discard, s); err != nil || n != int64(sent) {
		t.Fatalf("%d bytes came of %d: %v", n, sent, err)
	}
}

// cpuTime is what a process has used, in clock ticks (man proc_pid_stat, fields 14, 15).
func cpuTime(t *testing.T, pid int) (ticks int) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var u, s int
	f := strings.Fields(string(data))
	_, _ = fmt.Sscan(f[13]+" "+f[14], &u, &s)
	return u + s
}

// TestIdleCost: connections that end in all ways leave neither descriptors nor work.
func TestIdleCost(t *testing.T) {
	g := newGuest(t)
	a, b := mustParse(t, "tcp:127.0.0.1:21250"), mustParse(t, "tcp:127.0.0.1:22250")
	l := g.listen(t, true, b)
	r := g.start(t, Device{Listen: a, Connect: b})
	before := files(t, r.PID)
	var held []net.Conn
	for i := range 8 {
		c := as[*net.TCPConn](t, g.dial(t, false, a, 0))
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("x"))
		switch i {
		case 0:
			c.Close()
			s.Close()
		case 1:
			_ = c.SetLinger(0)
			c.Close() // a reset, which the target sees
			if _, err := io.ReadAll(s); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("the target sees %v instead of a reset", err)
			}
			s.Close()
		case 2:
			s.Close()
			if _, err := io.ReadAll(c); err == nil {
				t.Log("closed without a reset: it was read before")
			}
			c.Close()
		case 3:
			_ = c.CloseWrite() // stays half open
			held = append(held, c, s)
		case 4:
			_ = as[*net.TCPConn](t, s).CloseWrite()
			held = append(held, c, s)
		default:
			held = append(held, c, s)
		}
	}
	time.Sleep(100 * time.Millisecond)
	used := cpuTime(t, r.PID)
	time.Sleep(500 * time.Millisecond)
	if used = cpuTime(t, r.PID) - used; used > 5 {
		t.Errorf("idle connections took %d ticks", used)
	}
	for _, c := range held {
		c.Close()
	}
	eventually(t, "all descriptors are closed but spare pipes", func() bool { return files(t, r.PID) <= before+16 })
}

func files(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestMany has a thousand connections at once.
func TestMany(t *testing.T) {
	g := newGuest(t)
	a, b := mustParse(t, "tcp:127.0.0.1:21300"), mustParse(t, "tcp:127.0.0.1:22300")
	g.serve(t, true, b)
	g.start(t, Device{Listen: a, Connect: b})
	var wait sync.WaitGroup
	all := make(chan struct{})
	errs := make(chan error, 1000)
	var up sync.WaitGroup
	up.Add(1000)
	for i := range 1000 {
		wait.Go(func() {
			errs <- func() error {
				c, err := net.Dial("tcp", "127.0.0.1:21300")
				if err == nil {
					defer c.Close()
					_, err = fmt.Fprintf(c, "%08d", i)
				}
				buf := make([]byte, 8)
				if err == nil {
					_, err = io.ReadFull(c, buf)
				}
				up.Done()
				<-all // nobody goes before all are there
				if err == nil {
					_, err = c.Write(bytes.Repeat(buf, 1000))
				}
				more := make([]byte, 8000)
				if err == nil {
					_, err = io.ReadFull(c, more)
				}
				if err == nil && !bytes.Equal(more, bytes.Repeat(fmt.Appendf(nil, "%08d", i), 1000)) {
					err = errors.New("something else came back")
				}
				return err
			}()
		})
	}
	up.Wait()
	close(all)
	wait.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestRefused: where nobody listens, the connection ends, and the log says why.
func TestRefused(t *testing.T) {
	g := newGuest(t)
	for i, to := range []string{"tcp:127.0.0.1:22400", "unix:/mnt/nothing", "unix:@poolctl-test-nothing"} {
		a := mustParse(t, fmt.Sprintf("tcp:127.0.0.1:%d", 21400+i))
		r := g.start(t, Device{Listen: a, Connect: mustParse(t, to)})
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", 21400+i))
		if errors.Is(err, unix.ECONNRESET) {
			continue // so soon
		} else if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("%s: %d bytes, %v", to, n, err)
		}
		r.says(t, "c1: device web: cannot connect to "+to+": ")
	}
}

// TestPorts: a range goes to as many ports, or to one.
func TestPorts(t *testing.T) {
	g := newGuest(t)
	for i := range 3 {
		l := g.listen(t, true, mustParse(t, fmt.Sprintf("tcp:127.0.0.1:%d", 22500+i)))
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = fmt.Fprint(c, i)
				c.Close()
			}
		}()
	}
	a := mustParse(t, "tcp:127.0.0.1:21502,21500-21501")
	g.start(t, Device{Listen: a, Connect: mustParse(t, "tcp:127.0.0.1:22500-22502")})
	one := mustParse(t, "tcp:0.0.0.0:21600-21700")
	g.start(t, Device{Listen: one, Connect: mustParse(t, "tcp:127.0.0.1:22501")})
	for i, want := range []string{"0", "1", "2"} {
		if got, err := io.ReadAll(g.dial(t, false, a, i)); err != nil || string(got) != want {
			t.Errorf("port %d: %q, %v; want %s", a.Ports[i], got, err, want)
		}
	}
	for _, port := range []int{0, 57, 100} {
		if got, err := io.ReadAll(g.dial(t, false, one, port)); err != nil || string(got) != "1" {
			t.Errorf("port %d: %q, %v", one.Ports[port], got, err)
		}
	}
}

// TestHeader: the PROXY protocol tells the target who connects.
func TestHeader(t *testing.T) {
	g := newGuest(t)
	dir := t.TempDir()
	to := mustParse(t, "tcp:127.0.0.1:22700")
	l := g.listen(t, true, to)
	for i, listen := range []string{"tcp:127.0.0.1:21700", "tcp:[::1]:21701", "tcp:[::]:21702", "unix:" + dir + "/header", "udp:127.0.0.1:21703"} {
		a := mustParse(t, listen)
		g.start(t, Device{Listen: a, Connect: to, ProxyProtocol: true})
		dial := a
		if i == 2 {
			dial = mustParse(t, "tcp:127.0.0.1:21702") // IPv4 on a socket of IPv6
		}
		c := g.dial(t, false, dial, 0)
		if _, err := c.Write([]byte("hello\n")); err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		want := "PROXY UNKNOWN\r\nhello\n"
		if a.Kind == TCP {
			from, to := as[*net.TCPAddr](t, c.LocalAddr()), as[*net.TCPAddr](t, c.RemoteAddr())
			kind := "TCP4"
			ip := to.IP.String()
			if i == 1 {
				kind, ip = "TCP6", "0:0:0:0:0:0:0:1"
			}
			want = fmt.Sprintf("PROXY %s %s %s %d %d\r\nhello\n", kind, ip, ip, from.Port, to.Port)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(s, got); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", listen, got, err, want)
		}
		s.Close()
		c.Close()
	}
}

// TestRights: descriptors are passed on between unix sockets.
func TestRights(t *testing.T) {
	g := newGuest(t)
	a, b := mustParse(t, "unix:"+t.TempDir()+"/rights"), mustParse(t, "unix:/mnt/rights")
	l := g.listen(t, true, b)
	r := g.start(t, Device{Listen: a, Connect: b})
	c := as[*net.UnixConn](t, g.dial(t, false, a, 0))
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	before := 0
	for i := range 20 {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.WriteMsgUnix([]byte("take these"), unix.UnixRights(int(read.Fd()), int(write.Fd())), nil); err != nil {
			t.Fatal(err)
		}
		read.Close()
		write.Close()
		buf, oob := make([]byte, 64), make([]byte, 64)
		n, m, _, _, err := as[*net.UnixConn](t, s).ReadMsgUnix(buf, oob)
		if err != nil || string(buf[:n]) != "take these" {
			t.Fatalf("%q: %v", buf[:n], err)
		}
		messages, err := unix.ParseSocketControlMessage(oob[:m])
		if err != nil || len(messages) != 1 {
			t.Fatalf("%d messages: %v", len(messages), err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 2 {
			t.Fatalf("%v: %v", fds, err)
		}
		if _, err := unix.Write(fds[1], []byte("x")); err != nil {
			t.Error(err)
		}
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		if i == 0 {
			before = files(t, r.PID)
		}
	}
	eventually(t, "no more descriptors than after the first", func() bool { return files(t, r.PID) <= before })
}

// TestSocketFile: owner and permissions of a socket, one that nobody listens on is
// replaced, anything else is not.
func TestSocketFile(t *testing.T) {
	g := newGuest(t)
	dir := t.TempDir()
	to := mustParse(t, "tcp:127.0.0.1:22800")
	path := filepath.Join(dir, "s")
	a := mustParse(t, "unix:"+path)
	d := Device{Listen: a, Connect: to, UID: 1001, GID: 1002, Mode: 0o620}
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	as[*net.UnixListener](t, dead).SetUnlinkOnClose(false)
	if _, err := g.tryStart(t, d); !errors.Is(err, ErrInUse) {
		t.Fatalf("over one that is listened on: %v", err)
	}
	dead.Close()
	r := g.start(t, d)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Uid != 1001 || st.Gid != 1002 || st.Mode != unix.S_IFSOCK|0o620 {
		t.Errorf("%d:%d %o, %v", st.Uid, st.Gid, st.Mode, err)
	}
	if st.Ino != r.File.Ino || st.Dev != r.File.Dev {
		t.Errorf("it is %+v, not %d of %d", r.File, st.Ino, st.Dev)
	}
	other := filepath.Join(dir, "file")
	if err := os.WriteFile(other, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{other, dir} {
		if _, err := g.tryStart(t, Device{Listen: mustParse(t, "unix:"+p), Connect: to}); !errors.Is(err, ErrInUse) {
			t.Errorf("%s: %v", p, err)
		}
	}
	// In the guest: by its own root, also where only another of its users may.
	in := mustParse(t, "unix:/mnt/private/s")
	g.run(t, "chown", "1000:1000", "/mnt/private")
	g.start(t, Device{Listen: in, Connect: to, Inside: true, UID: 1000, GID: 1000, Mode: 0o600})
	if err := unix.Lstat(g.path(in.Path), &st); err != nil || st.Uid != 1001000 || st.Gid != 1001000 || st.Mode != unix.S_IFSOCK|0o600 {
		t.Errorf("%d:%d %o, %v", st.Uid, st.Gid, st.Mode, err)
	}
}

// TestGuestPaths: a link in a guest leads nowhere but into the guest, and its root gets
// no rights that it has not.
func TestGuestPaths(t *testing.T) {
	g := newGuest(t)
	dir := t.TempDir() // of the host's root, which the guest sees, and may not write to
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	g.run(t, "ln", "-s", dir, "/mnt/link")
	to := mustParse(t, "tcp:127.0.0.1:22900")
	_, err := g.tryStart(t, Device{Listen: mustParse(t, "unix:/mnt/link/s"), Connect: to, Inside: true})
	if !errors.Is(err, unix.EACCES) {
		t.Errorf("a socket where the guest may not: %v", err)
	}
	// To connect: a socket of the host's root that the guest may not use.
	l, err := net.Listen("unix", dir+"/private")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(dir+"/private", 0o600); err != nil {
		t.Fatal(err)
	}
	a := mustParse(t, "tcp:127.0.0.1:21900")
	r := g.start(t, Device{Listen: a, Connect: mustParse(t, "unix:/mnt/link/private")})
	if c, err := net.Dial("tcp", "127.0.0.1:21900"); err == nil {
		_, _ = io.ReadAll(c)
		c.Close()
	}
	r.says(t, "permission denied")
	// One that only another of the guest's users may use is fine, unless it is to be a
	// certain one.
	own := mustParse(t, "unix:/mnt/private/own")
	go echo(g.listen(t, true, own))
	g.run(t, "chmod", "600", own.Path)
	g.run(t, "chown", "-R", "1000:1000", "/mnt/private")
	uid, other := uint32(1000), uint32(1)
	for i, c := range []struct {
		uid  *uint32
		want string
	}{{nil, "hi"}, {&uid, "hi"}, {&other, ""}} {
		a := mustParse(t, fmt.Sprintf("tcp:127.0.0.1:%d", 21910+i))
		r := g.start(t, Device{Listen: a, Connect: own, SecurityUID: c.uid, SecurityGID: c.uid})
		buf, n := make([]byte, 2), 0
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", 21910+i))
		if err == nil { // or it was closed so soon
			_, _ = conn.Write([]byte("hi"))
			n, _ = io.ReadFull(conn, buf)
			conn.Close()
		}
		if string(buf[:n]) != c.want {
			t.Errorf("case %d: %q, want %q", i, buf[:n], c.want)
		}
		if c.want == "" {
			r.says(t, "permission denied")
		}
	}
}

// TestConfined: what a relay has is what it needs.
func TestConfined(t *testing.T) {
	g := newGuest(t)
	for _, c := range []struct {
		d    Device
		uid  string
		caps string
	}{
		{Device{Listen: mustParse(t, "tcp:127.0.0.1:21950"), Connect: mustParse(t, "tcp:127.0.0.1:1")}, "1000000", "0000000000000000"},
		{Device{Listen: mustParse(t, "tcp:127.0.0.1:21951"), Connect: mustParse(t, "unix:/mnt/x")}, "1000000", "0000000000000002"},
		{Device{Listen: mustParse(t, "tcp:127.0.0.1:21952"), Connect: mustParse(t, "tcp:127.0.0.1:1"), Inside: true}, "0", "0000000000000000"},
	} {
		r := g.start(t, c.d)
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", r.PID))
		if err != nil || len(tasks) == 0 {
			t.Fatal(err)
		}
		for _, task := range tasks {
			status, err := os.ReadFile(task)
			if err != nil {
				continue // that thread has ended
			}
			fields := map[string]string{}
			for line := range strings.Lines(string(status)) {
				k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
				fields[k] = strings.Join(strings.Fields(v), " ")
			}
			u := c.uid
			if fields["Uid"] != u+" "+u+" "+u+" "+u || fields["CapEff"] != c.caps || fields["CapPrm"] != c.caps || fields["CapInh"] != c.caps || fields["CapAmb"] != c.caps ||
				fields["NoNewPrivs"] != "1" || fields["Seccomp"] != "2" || fields["Groups"] != "" {
				t.Errorf("%s: %v", task, fields)
			}
		}
		if !c.d.Inside {
			for _, ns := range []string{"user", "net", "mnt"} {
				if ns == "mnt" && c.d.Connect.Kind != Unix {
					continue
				}
				have, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", r.PID, ns))
				want, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", g.cmd.Process.Pid, ns))
				if have != want || have == "" {
					t.Errorf("it is in %s, the guest in %s", have, want)
				}
			}
		}
	}
}

// TestEnd: the relay ends with the guest, and an address that is taken is an error.
func TestEnd(t *testing.T) {
	g := newGuest(t)
	a := mustParse(t, "tcp:127.0.0.1:21980")
	d := Device{Listen: a, Connect: mustParse(t, "tcp:127.0.0.1:1")}
	r := g.start(t, d)
	before := files(t, os.Getpid())
	if _, err := g.tryStart(t, d); !errors.Is(err, ErrInUse) {
		t.Errorf("a port that is in use: %v", err)
	}
	wide := Device{Listen: mustParse(t, "tcp:127.0.0.1:21900-21999"), Connect: d.Connect}
	if _, err := g.tryStart(t, wide); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "tcp:127.0.0.1:21980") {
		t.Errorf("ports of which one is in use: %v", err)
	}
	if now := files(t, os.Getpid()); now != before {
		t.Errorf("%d descriptors, %d before", now, before)
	}
	fd := pidfd(t, r.PID)
	g.end()
	eventually(t, "the relay ends with the guest", func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && n == 1
	})
	_ = join.Reap(r.PID)
}

// TestNotReleased: a relay that nobody has recorded ends.
func TestNotReleased(t *testing.T) {
	g := newGuest(t)
	d := Device{Name: "web", Listen: mustParse(t, "unix:"+t.TempDir()+"/s"), Connect: mustParse(t, "tcp:127.0.0.1:1"), Mode: DefaultMode}
	s, err := Start(t.Context(), "c1", d, g.host, g.inside, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.status.Close(); err != nil {
		t.Fatal(err)
	}
	if err := join.Reap(s.PID); err != nil { // or it goes on for ever
		t.Fatal(err)
	}
	again, err := Start(t.Context(), "c1", d, g.host, g.inside, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Cancel(g.host); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(d.Listen.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its socket: %v", err)
	}
}
