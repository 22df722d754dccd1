package table

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// The expected tables were made by the lxc client of LXD 5.0.2.
var header = []string{"NAME", "STATE", "IPV4", "IPV6", "TYPE", "SNAPSHOTS"}

var rows = [][]string{
	{"c1", "RUNNING", "10.119.77.163 (eth0)", "fd42:119:77:0:216:3eff:feef:c109 (eth0)", "CONTAINER", "0"},
	{"pro-penguin", "STOPPED", "", "", "CONTAINER", "0"},
}

const boxed = `+-------------+---------+----------------------+-----------------------------------------+-----------+-----------+
|    NAME     |  STATE  |         IPV4         |                  IPV6                   |   TYPE    | SNAPSHOTS |
+-------------+---------+----------------------+-----------------------------------------+-----------+-----------+
| c1          | RUNNING | 10.119.77.163 (eth0) | fd42:119:77:0:216:3eff:feef:c109 (eth0) | CONTAINER | 0         |
+-------------+---------+----------------------+-----------------------------------------+-----------+-----------+
| pro-penguin | STOPPED |                      |                                         | CONTAINER | 0         |
+-------------+---------+----------------------+-----------------------------------------+-----------+-----------+
`

const compact = "     NAME       STATE           IPV4                           IPV6                      TYPE     SNAPSHOTS  \n" +
	"  c1           RUNNING  10.119.77.163 (eth0)  fd42:119:77:0:216:3eff:feef:c109 (eth0)  CONTAINER  0          \n" +
	"  pro-penguin  STOPPED                                                                 CONTAINER  0          \n"

const lines = `+--------------------------+-------------------------------+--------+
|          ALIAS           |            ALIASES            | PUBLIC |
+--------------------------+-------------------------------+--------+
| alpinelinux/3.8 (1 more) | alpinelinux/3.8               | yes    |
|                          | alpinelinux/3.8/default/amd64 |        |
+--------------------------+-------------------------------+--------+
`

func TestWrite(t *testing.T) {
	for _, c := range []struct {
		name   string
		header []string
		rows   [][]string
		want   string
	}{
		{"instances", header, rows, boxed},
		{"empty", header, nil, "+------+-------+------+------+------+-----------+\n| NAME | STATE | IPV4 | IPV6 | TYPE | SNAPSHOTS |\n+------+-------+------+------+------+-----------+\n"},
		{"several lines", []string{"ALIAS", "ALIASES", "PUBLIC"}, [][]string{{"alpinelinux/3.8 (1 more)", "alpinelinux/3.8\nalpinelinux/3.8/default/amd64", "yes"}}, lines},
		{"wide", []string{"N"}, [][]string{{"日本"}, {"abcd"}}, "+------+\n|  N   |\n+------+\n| 日本 |\n+------+\n| abcd |\n+------+\n"},
		{"short row", []string{"A", "B"}, [][]string{{"x"}}, "+---+---+\n| A | B |\n+---+---+\n| x |   |\n+---+---+\n"},
		{"escape", []string{"A"}, [][]string{{"x\x1b[2Jy\r\u202e\u0085"}}, "+-----------+\n|     A     |\n+-----------+\n| x\ufffd[2Jy\ufffd\ufffd\ufffd |\n+-----------+\n"},
	} {
		var b strings.Builder
		if err := Write(&b, c.header, c.rows); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestWriteCompact(t *testing.T) {
	var b strings.Builder
	if err := WriteCompact(&b, header, rows); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(compact, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWriteCSV(t *testing.T) {
	var b strings.Builder
	err := WriteCSV(&b, [][]string{{"c1", "RUNNING", "", `a "quoted" word`}, {"c2", "10.0.0.1 (eth0)\n10.0.0.2 (eth1)", "Feb 18, 2021 at 12:00am (UTC)", "\x1b"}})
	if err != nil {
		t.Fatal(err)
	}
	want := "c1,RUNNING,,\"a \"\"quoted\"\" word\"\nc2,\"10.0.0.1 (eth0)\n10.0.0.2 (eth1)\",\"Feb 18, 2021 at 12:00am (UTC)\",\ufffd\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

type full struct{}

var errFull = errors.New("no space")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriteErrors(t *testing.T) {
	for name, err := range map[string]error{
		"table": Write(full{}, header, rows), "compact": WriteCompact(full{}, header, rows), "csv": WriteCSV(full{}, rows),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSort(t *testing.T) {
	column := func(rows [][]string) []string {
		var out []string
		for _, r := range rows {
			out = append(out, strings.Join(r, ","))
		}
		return out
	}
	in := [][]string{{"c10"}, {""}, {"c2", "b"}, {"c2", "a"}, {"b"}, {"c02"}, {"c2", ""}, {"C3"}}
	SortNatural(in)
	if diff := cmp.Diff([]string{"C3", "b", "c2,a", "c2,b", "c2,", "c02", "c10", ""}, column(in)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzCompareNatural(f *testing.F) {
	f.Add("c2", "c10", "c02")
	f.Add("", "a", "0")
	f.Add("1", "a1", "01")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		sign := func(n int) int { return min(1, max(-1, n)) }
		if sign(CompareNatural(a, b)) != -sign(CompareNatural(b, a)) {
			t.Fatalf("%q and %q: not antisymmetric", a, b)
		}
		if (CompareNatural(a, b) == 0) != (a == b) {
			t.Fatalf("%q and %q: equal though different", a, b)
		}
		if CompareNatural(a, b) <= 0 && CompareNatural(b, c) <= 0 && CompareNatural(a, c) > 0 {
			t.Fatalf("%q <= %q <= %q, but not the first and the last", a, b, c)
		}
	})
}

func FuzzWrite(f *testing.F) {
	f.Add("NAME", "c1\nc2", "日本\x1b")
	f.Fuzz(func(t *testing.T, head, one, two string) {
		if !utf8.ValidString(head + one + two) {
			return
		}
		var b strings.Builder
		if err := Write(&b, []string{"H", "N"}, [][]string{{one, two}, {two, head}}); err != nil {
			t.Fatal(err)
		}
		for _, l := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
			if !strings.HasPrefix(l, "+") && !strings.HasPrefix(l, "|") || strings.ContainsAny(l, "\x1b\r") {
				t.Fatalf("line %q of\n%s", l, b.String())
			}
		}
	})
}
