package runtime

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseRanges(t *testing.T) {
	for _, c := range []struct {
		file string
		want IDMap
		ok   bool
	}{
		{"root:100000:65536\n", IDMap{HostID: 100000, Size: 65536}, true},
		{"_lxd:1:70000\nroot:5:10\nroot:200000:10000001\n", IDMap{HostID: 200000, Size: 10000001}, true},
		{"0:300000:65536", IDMap{HostID: 300000, Size: 65536}, true},
		{"root:100000:65535\n", IDMap{}, false},
		{"root:0:65536\n", IDMap{}, false},
		{"root:4294967290:65536\n", IDMap{}, false},
		{"root:x:65536\nroot\n\n:::\n", IDMap{}, false},
		{"", IDMap{}, false},
	} {
		got, ok, err := parseRanges(strings.NewReader(c.file))
		if got != c.want || ok != c.ok || err != nil {
			t.Errorf("%q: got %v, %v, %v", c.file, got, ok, err)
		}
	}
}

func FuzzParseRanges(f *testing.F) {
	f.Add("root:100000:65536\n")
	f.Add("0:1:4294967295")
	f.Fuzz(func(t *testing.T, file string) {
		m, ok, err := parseRanges(strings.NewReader(file))
		if ok && err == nil && (m.HostID == 0 || m.Size < minIDs || uint64(m.HostID)+uint64(m.Size) > 1<<32-1) {
			t.Errorf("%q: %v", file, m)
		}
	})
}

func TestParseStartTime(t *testing.T) {
	self, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := parseStartTime(string(self)); n == 0 || err != nil {
		t.Errorf("own: %d, %v", n, err)
	}
	tail := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	if n, err := parseStartTime("7 (a) b) (c" + ")" + tail); n != 4711 || err != nil {
		t.Errorf("a name with parentheses: %d, %v", n, err)
	}
	for _, bad := range []string{"", "7", "7 (x", "7 (x) S 1", "7 (x)" + strings.Replace(tail, "4711", "-1", 1)} {
		if _, err := parseStartTime(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func FuzzParseStartTime(f *testing.F) {
	f.Add("7 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20")
	f.Add(")")
	f.Fuzz(func(t *testing.T, stat string) {
		if _, err := parseStartTime(stat); err == nil && !strings.Contains(stat, ")") {
			t.Errorf("%q: accepted", stat)
		}
	})
}

func TestHandlesSignal(t *testing.T) {
	status := "SigQ:\t0/1\nSigBlk:\t0000000000000800\nSigIgn:\t0000000000000001\nSigCgt:\t0000001000000000\n"
	for sig, want := range map[unix.Signal]bool{1: false, 12: true, 37: true, 13: false, 64: false} {
		if got := handlesSignal(status, sig); got != want {
			t.Errorf("signal %d: %v", sig, got)
		}
	}
	if handlesSignal("SigCgt:\tzz\n", 1) {
		t.Error("an invalid mask was taken")
	}
}

func TestCandidates(t *testing.T) {
	for _, c := range []struct {
		name, path string
		want       []string
	}{
		{"ls", "/bin:/usr/bin/", []string{"/bin/ls", "/usr/bin/ls"}},
		{"./ls", "/bin", []string{"./ls"}},
		{"ls", ":/bin", []string{"./ls", "/bin/ls"}},
		{"ls", "/", []string{"/ls"}},
	} {
		if d := cmp.Diff(c.want, candidates(c.name, c.path)); d != "" {
			t.Errorf("%s in %s: %s", c.name, c.path, d)
		}
	}
	if n := len(candidates("ls", strings.Repeat("/bin:", 1000))); n != maxPathDirs {
		t.Errorf("%d candidates", n)
	}
}
