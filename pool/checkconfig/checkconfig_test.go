package checkconfig

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func gzipped(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestParseKconfig(t *testing.T) {
	const text = "# Linux/x86 6.1\nCONFIG_NAMESPACES=y\nCONFIG_VETH=m\n# CONFIG_MACVLAN is not set\nCONFIG_LOCALVERSION=\"-x\"\nCONFIG_HZ=250\r\n CONFIG_NOT=y\nCONFIG_=y\n"
	want := Kconfig{"NAMESPACES": "y", "VETH": "m", "LOCALVERSION": "-x", "HZ": "250"}
	for name, in := range map[string]string{"plain": text, "gzip": gzipped(t, text)} {
		got, err := ParseKconfig(strings.NewReader(in))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	for name, in := range map[string]string{
		"empty": "", "nothing set": "# CONFIG_A is not set\n", "another file": "root:x:0:0\n",
		"torn": gzipped(t, text)[:40], "bomb": gzipped(t, strings.Repeat("CONFIG_A=y\n", maxConfig/8)),
	} {
		if got, err := ParseKconfig(strings.NewReader(in)); err == nil {
			t.Errorf("%s is read as %v", name, got)
		}
	}
}

func FuzzParseKconfig(f *testing.F) {
	f.Add([]byte("CONFIG_A=y\nCONFIG_B=m\n"))
	f.Add([]byte(gzipped(f, "CONFIG_A=\"x\"\n")))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := ParseKconfig(bytes.NewReader(data))
		if (err == nil) != (len(k) > 0) {
			t.Errorf("%d options and the error %v", len(k), err)
		}
		for name := range k {
			if strings.ContainsAny(name, "=\n ") || name == "" {
				t.Errorf("option %q", name)
			}
		}
	})
}

func TestFindKconfig(t *testing.T) {
	root := t.TempDir()
	if k, path, err := findKconfig(root, "1.0"); k != nil || path != "" || err != nil {
		t.Errorf("none: %v, %s, %v", k, path, err)
	}
	for _, f := range []struct{ path, text string }{
		{"/lib/modules/1.0/build/.config", "CONFIG_A=build\n"},
		{"/boot/config-1.1", "CONFIG_A=other\n"},
		{"/boot/config-1.0", "CONFIG_A=boot\n"},
		{"/proc/config.gz", gzipped(t, "CONFIG_A=proc\n")},
	} {
		if err := os.MkdirAll(filepath.Dir(root+f.path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+f.path, []byte(f.text), 0o644); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"/boot/config-1.1": "/lib/modules/1.0/build/.config"}[f.path] // another kernel's counts for nothing
		if want == "" {
			want = f.path
		}
		if _, path, err := findKconfig(root, "1.0"); path != want || err != nil {
			t.Errorf("with %s: %s, %v", f.path, path, err)
		}
	}
	if err := os.WriteFile(root+"/proc/config.gz", []byte("no"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := findKconfig(root, "1.0"); err == nil || !strings.Contains(err.Error(), "/proc/config.gz") {
		t.Errorf("a broken one: %v", err)
	}
}

func TestLook(t *testing.T) {
	k := Kconfig{"YES": "y", "MODULE": "m"}
	loaded := modules("veth 40960 0 - Live 0x0\nbridge 1 2\n")
	fails := func(err error) func(*prober) error { return func(*prober) error { return err } }
	for name, c := range map[string]struct {
		check check
		k     Kconfig
		want  Feature
	}{
		"built in":        {check{option: "YES"}, k, Feature{Option: "CONFIG_YES", Status: Enabled, By: "config"}},
		"loaded":          {check{option: "MODULE", module: "veth"}, k, Feature{Option: "CONFIG_MODULE", Status: Enabled, By: "config", Detail: "loaded"}},
		"not loaded":      {check{option: "MODULE", module: "vet"}, k, Feature{Option: "CONFIG_MODULE", Status: Enabled, By: "config", Detail: "not loaded"}},
		"not set":         {check{option: "NO", required: true}, k, Feature{Option: "CONFIG_NO", Status: Missing, By: "config", Required: true}},
		"no config":       {check{option: "YES", required: true}, nil, Feature{Option: "CONFIG_YES", Status: Unknown, Required: true}},
		"tried":           {check{option: "NO", probe: fails(nil)}, k, Feature{Option: "CONFIG_NO", Status: Enabled, By: "probe"}},
		"tried in vain":   {check{option: "YES", probe: fails(os.ErrPermission)}, k, Feature{Option: "CONFIG_YES", Status: Missing, By: "probe", Detail: "permission denied"}},
		"cannot be tried": {check{option: "YES", probe: fails(errNotTried)}, k, Feature{Option: "CONFIG_YES", Status: Enabled, By: "config"}},
	} {
		if diff := cmp.Diff(c.want, c.check.look(&prober{}, c.k, loaded)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// TestRun looks at this machine, which has what the other tests need, and leaves
// no device and no namespace.
func TestRun(t *testing.T) {
	before := links(t)
	r, err := Run(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if lacking := r.Lacking(); len(lacking) > 0 {
		t.Errorf("required and missing: %+v", lacking)
	}
	names := map[string]string{}
	for _, f := range r.Features {
		if names[f.Group+f.Name] != "" || f.Name == "" || f.Group == "" {
			t.Errorf("%+v is there twice, or has no name", f)
		}
		names[f.Group+f.Name] = f.Status
	}
	for _, must := range []string{groupNamespaces + "User namespace", groupMisc + "Bridges", groupCgroups + "Cgroup memory controller", groupMisc + "nftables"} {
		if names[must] != Enabled {
			t.Errorf("%s is %q", must, names[must])
		}
	}
	if len(r.CgroupV1)+len(r.CgroupV2) == 0 {
		t.Error("no cgroup mounts")
	}
	if diff := cmp.Diff(before, links(t)); diff != "" {
		t.Errorf("network devices:\n%s", diff)
	}
}

func links(t *testing.T) string {
	t.Helper()
	entries, err := filepath.Glob("/sys/class/net/probe*")
	below, berr := filepath.Glob("/sys/class/net/below*")
	if err := errors.Join(err, berr); err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(entries, below...), " ")
}
