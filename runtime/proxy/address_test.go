package proxy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ text, again string }{
		{"tcp:0.0.0.0:8022", ""},
		{"tcp:127.0.0.1:80,443,8000-8010", ""},
		{"tcp:127.0.0.1:80,81,82", "tcp:127.0.0.1:80-82"},
		{"tcp:127.0.0.1:81,80", ""},
		{"udp:[::1]:53", ""},
		{"tcp:[2001:DB8:0::1]:80", "tcp:[2001:db8::1]:80"},
		{"unix:/run/x.sock", ""},
		{"unix:/run//./x.sock", "unix:/run/x.sock"},
		{"unix:@name", ""},
		{"unix:@/tmp/.X11-unix/X0", ""},
		{"tcp:1.2.3.4:65535", ""},
		{"tcp:1.2.3.4:00080", "tcp:1.2.3.4:80"},
	} {
		a, err := Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		want := c.again
		if want == "" {
			want = c.text
		}
		if a.String() != want {
			t.Errorf("Parse(%q) = %q, want %q", c.text, a, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "has no type",
		"127.0.0.1:80":                      "none of tcp, udp and unix",
		"sctp:127.0.0.1:80":                 "none of tcp, udp and unix",
		"tcp:127.0.0.1":                     "no port",
		"tcp:127.0.0.1:":                    `"" is no port`,
		"tcp:127.0.0.1:0":                   "1 to 65535",
		"tcp:127.0.0.1:65536":               "1 to 65535",
		"tcp:127.0.0.1:-1":                  "is no port",
		"tcp:127.0.0.1:+1":                  "is no port",
		"tcp:127.0.0.1:80,":                 "is no port",
		"tcp:127.0.0.1:90-80":               "ends before it begins",
		"tcp:127.0.0.1:80,79-81":            "80 is there twice",
		"tcp:127.0.0.1:1-2000":              "more than 1024",
		"tcp:127.0.0.1:1-2-3":               "is no port",
		"tcp:localhost:80":                  "is no IP address",
		"tcp::80":                           "is no IP address",
		"tcp:::1:80":                        "in brackets",
		"tcp:[::1]80":                       "comes :PORT",
		"tcp:[::1]":                         "comes :PORT",
		"tcp:[127.0.0.1]:80":                "in brackets",
		"tcp:[fe80::1%eth0]:80":             "is no IP address",
		"unix:":                             "absolute path",
		"unix:run/x":                        "absolute path",
		"unix:/":                            "absolute path",
		"unix:/run/":                        "absolute path",
		"unix:@":                            "1 to 107",
		"unix:/run/\x00":                    "NUL",
		"unix:/" + strings.Repeat("x", 107): "can have 107 bytes, this one has 108",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): %v, want %q", text, err, want)
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, c := range []struct {
		a, b, common string
	}{
		{"tcp:0.0.0.0:80", "tcp:127.0.0.1:80", "tcp port 80"},
		{"tcp:[::]:80", "tcp:127.0.0.1:79-81", "tcp port 80"},
		{"tcp:[::]:80", "tcp:[::1]:80", "tcp port 80"},
		{"tcp:[::]:80", "tcp:0.0.0.0:80", "tcp port 80"},
		{"tcp:0.0.0.0:80", "tcp:[::1]:80", ""},
		{"tcp:0.0.0.0:80", "udp:0.0.0.0:80", ""},
		{"tcp:127.0.0.2:80", "tcp:127.0.0.1:80", ""},
		{"tcp:127.0.0.1:80", "tcp:127.0.0.1:81-90", ""},
		{"unix:/run/x", "unix:/run/x", "unix:/run/x"},
		{"unix:/run/x", "unix:@/run/x", ""},
		{"unix:@x", "unix:@x", "unix:@x"},
	} {
		a, b := mustParse(t, c.a), mustParse(t, c.b)
		for _, pair := range [][2]Address{{a, b}, {b, a}} {
			common, yes := pair[0].Overlaps(pair[1])
			if yes != (c.common != "") || yes && common != c.common {
				t.Errorf("%s and %s: %q %v, want %q", pair[0], pair[1], common, yes, c.common)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct{ listen, connect, want string }{
		{"tcp:0.0.0.0:80", "tcp:127.0.0.1:80", ""},
		{"tcp:0.0.0.0:80-82", "tcp:127.0.0.1:80", ""},
		{"tcp:0.0.0.0:80-82", "tcp:127.0.0.1:90-92", ""},
		{"tcp:0.0.0.0:80-82", "unix:/run/x", ""},
		{"unix:/run/x", "tcp:127.0.0.1:90", ""},
		{"unix:/run/x", "tcp:127.0.0.1:90-91", "has 1 ports and"},
		{"tcp:0.0.0.0:80", "tcp:127.0.0.1:90-92", "want one to connect to, or as many"},
		{"tcp:0.0.0.0:80-82", "tcp:127.0.0.1:90-91", "has 3 ports and tcp:127.0.0.1:90-91 has 2"},
	} {
		err := Device{Listen: mustParse(t, c.listen), Connect: mustParse(t, c.connect)}.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %s: %v, want %q", c.listen, c.connect, err, c.want)
		}
	}
	d := Device{Listen: mustParse(t, "tcp:0.0.0.0:80"), Connect: mustParse(t, "unix:/x"), ProxyProtocol: true}
	if err := d.Validate(); err == nil {
		t.Error("the PROXY protocol to a unix socket is taken")
	}
}

func mustParse(t *testing.T, text string) Address {
	t.Helper()
	a, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// FuzzParse: what is taken is written so that it is the same when it is read again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"tcp:0.0.0.0:80,443,8000-8010", "udp:[::1]:53", "unix:/run/x", "unix:@x", "tcp:[::ffff:1.2.3.4]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := Parse(text)
		if err != nil {
			return
		}
		b, err := Parse(a.String())
		if err != nil {
			t.Fatalf("%q became %q: %v", text, a, err)
		}
		if diff := cmp.Diff(a, b, cmp.Comparer(func(a, b Address) bool { return a.String() == b.String() })); diff != "" {
			t.Fatal(diff)
		}
		if _, yes := a.Overlaps(b); !yes {
			t.Fatalf("%s does not overlap itself", a)
		}
	})
}
