package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// swapping changes what an exec looks up between what belongs there and symbolic
// links to the directory $H of the host's, over and over.
const swapping = `mkdir /tmp/keep /dev/p; echo '#!/bin/sh' > /tmp/keep/run; chmod 755 /tmp/keep/run
while :; do
	mkdir /tmp/d; rmdir /tmp/d; ln -s "$H" /tmp/d; rm /tmp/d; ln -s "/proc/1/root/../../..$H" /tmp/d; rm /tmp/d
	ln -s "$H/run" /bin/run; rm /bin/run; ln -s "/../..$H/run" /bin/run; rm /bin/run; ln -s /tmp/keep/run /bin/run; rm /bin/run
	mount --move /dev/pts /dev/p; rmdir /dev/pts; ln -s "$H/pts" /dev/pts; rm /dev/pts; mkdir /dev/pts; mount --move /dev/p /dev/pts
	echo >> /tmp/keep/rounds
done`

// TestExecRace runs commands while the instance swaps the program, the working
// directory and the terminal's multiplexer for links out of it.
func TestExecRace(t *testing.T) {
	host := t.TempDir()
	write(t, filepath.Join(host, "run"), "#!/bin/sh\ntouch "+host+"/ran\n", 0o755)
	write(t, filepath.Join(host, "secret"), "secret of the host\n", 0o644)
	if err := os.Mkdir(filepath.Join(host, "pts"), 0o755); err != nil {
		t.Fatal(err)
	}
	// What would be opened in place of the instance's own.
	if err := unix.Mknod(filepath.Join(host, "pts/ptmx"), unix.S_IFCHR|0o666, int(unix.Mkdev(5, 2))); err != nil {
		t.Fatal(err)
	}
	terminals := len(readDir(t, "/dev/pts"))
	root := busyboxRoot(t)
	inst := start(t, testSpec(t, root))
	if _, code := runWith(t, inst, "", ExecOptions{Args: []string{"sh", "-c", `exec setsid sh -c "$SWAP" </dev/null >/dev/null 2>&1 &`}, Env: map[string]string{"H": host, "SWAP": swapping}}); code != 0 {
		t.Fatal(code)
	}
	ran := map[string]int{}
	rounds := func() int { data, _ := os.ReadFile(filepath.Join(root, "tmp/keep/rounds")); return len(data) }
	began := time.Now()
	for time.Since(began) < 1500*time.Millisecond || rounds() < 5 && time.Since(began) < patient(10*time.Second) {
		for what, o := range map[string]ExecOptions{
			"directory": {Args: []string{"sh", "-c", "pwd -P; cat secret; :"}, Cwd: "/tmp/d"},
			"program":   {Args: []string{"run"}},
			"terminal":  {Args: []string{"sh", "-c", "tty; :"}, TTY: true},
		} {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			o.Stdout, o.Stderr = w, w
			code, err := inst.Exec(t.Context(), o)
			_ = w.Close() // written by others
			out := make([]byte, 4096)
			n, _ := r.Read(out) // io.EOF
			_ = r.Close()       // read-only
			text := string(out[:n])
			if strings.Contains(text, "secret of") || strings.Contains(text, host) {
				t.Errorf("%s: %q", what, text)
			}
			if code == 0 {
				ran[what]++
			} else if err == nil && what != "program" { // a shell may look for its script in vain
				t.Errorf("%s: exit status %d: %q", what, code, text)
			}
		}
	}
	if _, err := os.Lstat(filepath.Join(host, "ran")); err == nil {
		t.Error("the host's program ran")
	}
	if n := len(readDir(t, "/dev/pts")); n > terminals+2 { // of others, meanwhile
		t.Errorf("the host has %d terminals, it had %d", n, terminals)
	}
	if rounds() < 5 {
		t.Errorf("only %d rounds", rounds())
	}
	t.Logf("%d rounds, went well: %v", rounds(), ran)
}

func readDir(t *testing.T, path string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}
