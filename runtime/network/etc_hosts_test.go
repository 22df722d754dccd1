package network

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// FuzzReplaceBlock: what is not the network's stays as it is, and a block that was
// put there goes without a trace.
func FuzzReplaceBlock(f *testing.F) {
	f.Add([]byte("127.0.0.1 localhost\n::1 localhost"))
	f.Add([]byte("\r\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Contains(text, []byte("# BEGIN poolctl network")) {
			return // TestUpdateHosts has those
		}
		names := []byte("10.1.2.3 web.lxd web\n")
		with := replaceBlock(text, "br0", names)
		if !bytes.HasPrefix(with, text) || !bytes.Contains(with, names) || !bytes.Equal(replaceBlock(with, "br0", names), with) {
			t.Errorf("%q -> %q", text, with)
		}
		both := replaceBlock(with, "br1", names)
		if !bytes.Equal(replaceBlock(both, "br0", names), both) || !bytes.Equal(replaceBlock(both, "br1", nil), with) {
			t.Errorf("%q -> %q", with, both)
		}
		if plain := replaceBlock(with, "br0", nil); !bytes.Equal(bytes.TrimSuffix(plain, []byte("\n")), bytes.TrimSuffix(text, []byte("\n"))) {
			t.Errorf("%q -> %q -> %q", text, with, plain)
		}
	})
}

func TestUpdateHosts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	const before = "127.0.0.1 localhost\n"
	if err := os.WriteFile(path, []byte(before), 0o640); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ network, names, want string }{
		{"br0", "10.1.2.3 web\n", before + "# BEGIN poolctl network br0\n10.1.2.3 web\n# END poolctl network br0\n"},
		{"br0", "10.1.2.4 web\n", before + "# BEGIN poolctl network br0\n10.1.2.4 web\n# END poolctl network br0\n"},
		{"br1", "", before + "# BEGIN poolctl network br0\n10.1.2.4 web\n# END poolctl network br0\n"},
		{"br0", "", before},
		{"br", "10.1.2.4 web\n", before + "# BEGIN poolctl network br\n10.1.2.4 web\n# END poolctl network br\n"},
		{"br0", "", before + "# BEGIN poolctl network br\n10.1.2.4 web\n# END poolctl network br\n"},
		{"br", "", before},
	} {
		if err := updateHosts(path, c.network, []byte(c.names)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != c.want {
			t.Errorf("%v: %q, %v", c, got, err)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}
