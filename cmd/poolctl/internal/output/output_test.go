package output

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type inner struct {
	Path string `json:"path" yaml:"path"`
	Size int64  `json:"size" yaml:"size"`
}

type value struct {
	Config map[string]string `json:"config" yaml:"config"`
	Name   string            `json:"name" yaml:"name"`
	UsedBy []string          `json:"used_by" yaml:"used_by"`
	Empty  []string          `json:"empty" yaml:"empty"`
	File   *inner            `json:"file" yaml:"file"`
	Loops  []inner           `json:"loops" yaml:"loops"`
}

func sample() value {
	return value{
		Config: map[string]string{"size": "1GiB", "source": "/x"}, Name: "p", UsedBy: []string{"a", "b"}, Empty: []string{},
		Loops: []inner{{"/dev/loop3", 7}},
	}
}

func TestValue(t *testing.T) {
	for format, want := range map[string]string{
		JSON: `{"config":{"size":"1GiB","source":"/x"},"name":"p","used_by":["a","b"],"empty":[],"file":null,"loops":[{"path":"/dev/loop3","size":7}]}` + "\n",
		YAML: "config:\n  size: 1GiB\n  source: /x\nname: p\nused_by:\n- a\n- b\nempty: []\nfile: null\nloops:\n- path: /dev/loop3\n  size: 7\n",
		CSV:  "config.size,1GiB\nconfig.source,/x\nname,p\nused_by,\"a\nb\"\nempty,\nfile,\nloops.0.path,/dev/loop3\nloops.0.size,7\n",
		Compact: "       KEY         VALUE     \n  config.size    1GiB        \n  config.source  /x          \n  name           p           \n  used_by        a           \n" +
			"                 b           \n  empty                      \n  file                       \n  loops.0.path   /dev/loop3  \n  loops.0.size   7           \n",
	} {
		var b strings.Builder
		if err := Value(&b, format, sample()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
}

func TestList(t *testing.T) {
	l := List{Header: []string{"NAME"}, Rows: [][]string{{"p"}}, Values: []inner{{"a", 1}}}
	for format, want := range map[string]string{
		Table: "+------+\n| NAME |\n+------+\n| p    |\n+------+\n", Compact: "  NAME  \n  p     \n", CSV: "p\n",
		JSON: `[{"path":"a","size":1}]` + "\n", YAML: "- path: a\n  size: 1\n",
		"csv,header": "NAME\np\n", "csv,noheader": "p\n", "table,header": "+------+\n| NAME |\n+------+\n| p    |\n+------+\n",
		"table,noheader": "+---+\n| p |\n+---+\n", "compact,noheader": "  p  \n", "json,header": `[{"path":"a","size":1}]` + "\n",
	} {
		var b strings.Builder
		if err := l.Write(&b, format); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
		if !Valid(format) || !strings.Contains(Formats, Base(format)) {
			t.Errorf("%s: not a format", format)
		}
	}
	if Valid("") || Valid("xml") || Valid("csv,") || Valid("csv,headers") || Valid(",header") {
		t.Error("formats that there are not are valid")
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64][2]string{
		0: {"0B", "0B"}, 999: {"999B", "999B"}, 1000: {"1000B", "1.00kB"}, 1023: {"1023B", "1.02kB"}, 2218: {"2.17KiB", "2.22kB"},
		3715072: {"3.54MiB", "3.72MB"}, 10338304: {"9.86MiB", "10.34MB"}, 1 << 30: {"1.00GiB", "1.07GB"}, math.MaxInt64: {"8.00EiB", "9.22EB"},
	} {
		if IEC(n) != want[0] || SI(n) != want[1] {
			t.Errorf("%d: %s and %s; want %v", n, IEC(n), SI(n), want)
		}
	}
}
