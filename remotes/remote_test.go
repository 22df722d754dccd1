package remotes

import (
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

func TestDefaults(t *testing.T) {
	names := map[string]bool{}
	for _, r := range Defaults() {
		n, err := r.Normalize()
		if err != nil || !reflect.DeepEqual(n, r) {
			t.Errorf("%+v: %+v %v", r, n, err)
		}
		if !r.Builtin || !r.Public || names[r.Name] {
			t.Errorf("%+v", r)
		}
		names[r.Name] = true
	}
	for _, n := range []string{"images", "tuna-images", "ubuntu", "ubuntu-daily", "ubuntu-minimal"} {
		if !names[n] {
			t.Errorf("%s is missing", n)
		}
	}
}

func TestValidateName(t *testing.T) {
	for name, ok := range map[string]bool{
		"images": true, "a": true, "tuna-images.2_x": true, "mein-übung": true, strings.Repeat("x", 63): true,
		"": false, "local": false, "a:b": false, "a/b": false, "a b": false, "a\tb": false, ".": false, "..": false, ".x": false,
		"-x": false, "a\x00b": false, "a\nb": false, `a\b`: false, strings.Repeat("x", 64): false, "\xff": false, "a\u00a0b": false, "\u202eab": false,
	} {
		if err := ValidateName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestParseURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://images.linuxcontainers.org":  "https://images.linuxcontainers.org",
		"https://images.linuxcontainers.org/": "https://images.linuxcontainers.org",
		"https://Example.ORG:8443/a/b//":      "https://example.org:8443/a/b",
		"HTTPS://example.org/A":               "https://example.org/A",
		"images.linuxcontainers.org":          "https://images.linuxcontainers.org",
		"localhost:8443/x":                    "https://localhost:8443/x",
		"https://[::1]:8443":                  "https://[::1]:8443",
		"https://e/a%20b":                     "https://e/a%20b",
		"https://e/a#":                        "https://e/a",
		"http://example.org":                  "",
		"ftp://example.org":                   "",
		"unix:///var/lib":                     "",
		"file:///etc":                         "",
		"https://":                            "",
		"https:///x":                          "",
		"https://e:":                          "",
		"https://:8443/":                      "",
		"https://user:pw@e/":                  "",
		"https://user@e/":                     "",
		"https://e/?x=1":                      "",
		"https://e/?":                         "",
		"https://e/#f":                        "",
		"https://e/../x":                      "",
		"https://e/%2e%2e/x":                  "",
		"https://e/\x00":                      "",
		"https://e:port/":                     "",
		"":                                    "",
		"https://e\n/":                        "",
		"https://mirrors.tuna.edu.cn/lxc-images////": "https://mirrors.tuna.edu.cn/lxc-images",
	} {
		got, err := ParseURL(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: the error shows the password: %v", in, err)
		}
	}
	if _, err := ParseURL("https://user:pw@e:port/"); err == nil || strings.Contains(err.Error(), "pw@") {
		t.Errorf("the error shows the password: %v", err)
	}
}

func TestInsecureHTTP(t *testing.T) {
	var ie *InsecureURLError
	_, err := ParseURL("http://e/x")
	if !errors.As(err, &ie) || !strings.Contains(ie.Hint(), "remote add --insecure-http") {
		t.Errorf("%v", err)
	}
	if _, err := NewClient(Remote{Name: "x", URL: "http://e"}, Options{}); !errors.As(err, &ie) {
		t.Errorf("%v", err)
	}
	r, err := Remote{Name: "x", URL: "http://e/", InsecureHTTP: true}.Normalize()
	if err != nil || r.URL != "http://e" || r.Protocol != ProtocolSimplestreams {
		t.Errorf("%+v %v", r, err)
	}
	for _, bad := range []Remote{{Name: "local", URL: "https://e"}, {Name: "x", URL: "https://e", Protocol: "lxd"}, {Name: "x"}, {Name: "x", URL: "ftp://e", InsecureHTTP: true}} {
		if _, err := NewClient(bad, Options{}); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestJoinPath(t *testing.T) {
	base, err := url.Parse("https://e/base")
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{
		"a/b.json": "https://e/base/a/b.json",
		"images/alpine/20220530_08:32/rootfs.squashfs": "https://e/base/images/alpine/20220530_08:32/rootfs.squashfs",
		"com.ubuntu.cloud:released:download.json":      "https://e/base/com.ubuntu.cloud:released:download.json",
		"a b?c#d%2e":              "https://e/base/a%20b%3Fc%23d%252e",
		"%2e%2e/%2e%2e/etc":       "https://e/base/%252e%252e/%252e%252e/etc",
		"...":                     "https://e/base/...",
		"a/..b":                   "https://e/base/a/..b",
		"":                        "",
		"/etc/passwd":             "",
		"//evil/x":                "",
		"../x":                    "",
		"a/../../x":               "",
		"a/..":                    "",
		"a/./b":                   "",
		"a//b":                    "",
		"a/":                      "",
		"https://evil/x":          "",
		"file:/etc/passwd":        "",
		"FILE:///etc":             "",
		`a\..\b`:                  "",
		"a\x00b":                  "",
		"a\nb":                    "",
		"a\xffb":                  "",
		strings.Repeat("a", 1025): "",
	} {
		got, err := joinPath(base, p)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%.40q: %q %v, want %q", p, got, err, want)
		}
	}
}

func TestArch(t *testing.T) {
	for name, want := range map[string]string{"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "armhf": "armv7l", "i386": "i686", "ppc64el": "ppc64le", "s390x": "s390x", "riscv64": "riscv64", "": "", "pdp11": ""} {
		if got, ok := Arch(name); got != want || ok != (want != "") {
			t.Errorf("%s: %q %v", name, got, ok)
		}
	}
	if a, ok := Arch(NativeArch()); !ok || a != NativeArch() {
		t.Errorf("native %q", NativeArch())
	}
}
