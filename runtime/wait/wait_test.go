package wait

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What Args makes Parse reads.
func TestConfigRoundTrip(t *testing.T) {
	for _, c := range []Config{
		{Name: "c1", RunDir: "/run/c1", Log: "/log/c1=x y", Init: 5, Lock: 3, Console: -1, Slave: -1, LogFile: 7, Listener: 8, Client: -1, Upkeep: 1},
		{Name: "rundir=x", Init: -1, Lock: 1<<31 - 1, Console: 0, Slave: 1, LogFile: -1, Listener: -1, Client: 9, Down: 1},
	} {
		got, what, ok := Parse(c.Args(Ended))
		if !ok || what != Ended || got != c {
			t.Errorf("%+v became %+v, %q, %v", c, got, what, ok)
		}
	}
	for _, args := range [][]string{nil, {Name}, {Name, "c1"}, {"poolctl", "c1", Waiting}, {Name, "c1", Waiting, "init=x"}, {Name, "c1", Waiting, "init=2147483648"}, {Name, "c1", Waiting, "init="}, {Name, "c1", Waiting, "other=1"}} {
		if c, what, ok := Parse(args); ok {
			t.Errorf("%q was taken: %+v, %s", args, c, what)
		}
	}
}

// cleanMappings is what is given back of a /proc/PID/smaps.
func cleanMappings(text string) (list [][2]uintptr) {
	var r smapsReader
	for i := range len(text) {
		if start, end, ok := r.add(text[i]); ok {
			list = append(list, [2]uintptr{start, end})
		}
	}
	return list
}

func TestCleanMappings(t *testing.T) {
	text := `00400000-00800000 r-xp 00000000 fe:00 1   /usr/bin/x y
Private_Dirty:        64 kB
Anonymous:             0 kB
00800000-00900000 r--p 00000000 fe:00 1   /usr/bin/x y
Private_Dirty:         4 kB
Anonymous:             4 kB
00900000-00a00000 rw-p 00000000 fe:00 1   /usr/bin/x y
Anonymous:             0 kB
00a00000-00b00000 r--p 00000000 fe:00 1   /usr/bin/x y (deleted)
Anonymous:             0 kB
00b00000-00c00000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
00c00000-00d00000 r--p 00000000 00:00 0 
Anonymous:             0 kB
00d00000-00e00000 r--p 00000000 fe:00 1   /` + strings.Repeat("long/", 100) + `
Anonymous:             0 kB
`
	want := [][2]uintptr{{0x400000, 0x800000}, {0xa00000, 0xb00000}, {0xd00000, 0xe00000}}
	if d := cmp.Diff(want, cleanMappings(text)); d != "" {
		t.Error(d)
	}
}

func FuzzCleanMappings(f *testing.F) {
	f.Add("00400000-00800000 r-xp 00000000 fe:00 1 /x\nPrivate_Dirty: 0 kB\nAnonymous: 0 kB\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range cleanMappings(text) {
			if r[0] >= r[1] {
				t.Errorf("%q: %x", text, r)
			}
		}
	})
}

// The conditions are met when they should be.
func TestConditions(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	n := put("n", "42\n")
	var st syscall.Stat_t
	if err := syscall.Stat(n, &st); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		line string
		age  uint64
		want bool
	}{
		{"n 0 42 0 " + n, 0, false},
		{"n 0 41 0 " + n, 0, true},
		{"n 9 41 0 " + n, 8, false},
		{"n 9 41 0 " + n, 9, true},
		{"n 0 18446744073709551615 0 " + dir + "/none", 0, false},
		{"n 0 18446744073709551615 0 " + n, 0, true},
		{"r 0 42 0 " + n, 0, false},
		{"r 0 41 0 " + n, 0, true},
		{"r 0 1 1 " + dir + "/none", 0, false},
		{"l 0 1 0 " + n, 0, false},
		{"l 0 2 0 " + n, 0, true},
		{"l 0 0 0 " + dir + "/none", 0, false},
		{fmt.Sprintf("f 0 %d %d %s", st.Ino, st.Mtim.Nsec, n), 0, false},
		{fmt.Sprintf("f 0 %d %d %s", st.Ino, st.Mtim.Nsec+1, n), 0, true},
		{fmt.Sprintf("f 0 %d %d %s", st.Ino+1, st.Mtim.Nsec, n), 0, true},
		{"f 0 0 0 " + n, 0, true},
		{"f 0 0 0 " + dir + "/none", 0, false},
		{"s 0 0 0 " + dir, 0, false}, // no subvolume
		{"s 0 1 0 " + dir, 0, true},
		{"t 5 0 0 /", 4, false},
		{"t 5 0 0 /", 5, true},
		{"", 0, false},
		{"t", 9, false},
		{"t 0 0 0", 9, false},
		{"t 0 0 x /", 9, false},
		{"t 99999999999999999999999 0 0 /", 9, false},
	} {
		var c conditions
		c.n = copy(c.text[:], tc.line+"\n")
		if got := c.due(tc.age); got != tc.want {
			t.Errorf("%s after %d s: %v", tc.line, tc.age, got)
		}
		if string(c.text[:c.n]) != tc.line+"\n" {
			t.Errorf("%s: it is %q after that", tc.line, c.text[:c.n])
		}
	}
	// A fall below the highest, which is remembered for each.
	var c conditions
	c.n = copy(c.text[:], "n 0 1 0 "+put("one", "1")+"\nr 0 1000 100 "+n+"\nr 0 5000 0 "+put("other", "7")+"\n")
	for _, step := range []struct {
		now  string
		want bool
	}{{"500", false}, {"700", false}, {"600", false}, {"599", true}} {
		put("n", step.now)
		if got := c.due(0); got != step.want {
			t.Errorf("at %s: %v", step.now, got)
		}
	}
	if got := c.peaks[:c.count]; !slices.Equal(got, []uint64{0, 700, 7}) {
		t.Errorf("the highest values: %v", got)
	}
}

func FuzzConditions(f *testing.F) {
	f.Add("n 0 1 2 /proc/self/nothing\nr 1 2 3 /x\n")
	f.Fuzz(func(t *testing.T, text string) {
		var lines []string
		for l := range strings.Lines(text) { // no other files than one that is not there
			if i := strings.IndexByte(l, '/'); i >= 0 {
				l = l[:i] + "/none/at/all\n"
			}
			lines = append(lines, l)
		}
		var c conditions
		c.n = copy(c.text[:], strings.Join(lines, ""))
		before := c.text
		c.due(5)
		if c.text != before || c.count > maxConditions {
			t.Errorf("%q: changed, or %d conditions", text, c.count)
		}
	})
}
