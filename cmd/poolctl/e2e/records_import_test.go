package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"poolctl/fixtures"
)

// unknownToLXD are keys of an imported instance that LXD 5.0.2 does not know, or of which it refuses the value.
var unknownToLXD = map[string]string{
	"volatile.uuid.generation": "x", "volatile.last_state.ready": "true", "volatile.cpu.nodes": "0", "volatile.container.oci": "true",
	"volatile.rebalance.last_move": "1", "volatile.eth0.last_state.ip_addresses": "x", "security.bpffs.path": "/x", "oci.entrypoint": "x",
	"cloud-init.foo": "x", "cloud-init.network-config": "hello", "cloud-init.user-data": "#cloud-config\n- a", "limits.cpu": "0,0",
	"boot.autostart": "maybe", "snapshots.schedule": "x",
}

// TestRecoverImported: a real LXD 5.0.2 recovers an instance that was imported with keys and values that it refuses, and got some
// more, with its snapshot; back here it has them again.
func TestRecoverImported(t *testing.T) {
	h := newHost(t)
	l := newLXD(t, filepath.Join(h.dir, "l"), &fixtures.Server{})
	l.stop()
	disk := filepath.Join(l.another(), "x.img")
	h.ok("pool", "create", "x", "size=300MiB", "source="+disk)
	h.ok("create", "--empty", "k0", "--no-profiles", "--config", "user.marker=1")
	backup := filepath.Join(h.dir, "k0.tar")
	h.ok("export", "k0", backup, "--compression", "none")
	withKeys(t, backup, unknownToLXD)
	h.ok("import", backup, "k1")
	later := map[string]string{
		"volatile.foo": "bar", "limits.memory": "104857600bytes", "limits.hugepages.2MB": "4\tMB", "snapshots.expiry": "1d  2H",
		"security.syscalls.allow": "read", "security.syscalls.deny": "write",
	}
	for key, value := range later {
		h.ok("config", "set", "k1", key+"="+value)
	}
	h.ok("snapshot", "create", "k1", "s1")
	want := h.ok("config", "show", "k1")
	h.ok("pool", "detach", "x")

	l.recover(disk)
	if got := l.lxc("list", "-f", "csv", "-c", "nS"); got != "k0,0\nk1,1\n" {
		t.Errorf("LXD has %q", got)
	}
	if got := l.lxc("config", "get", "k1", "limits.memory") + l.lxc("config", "get", "k1", "snapshots.expiry"); got != "104857600\n1d 2H\n" {
		t.Errorf("it has in LXD %q", got)
	}
	l.lxc("restore", "k1", "s1")
	l.stop()

	for _, keys := range []map[string]string{unknownToLXD, later} {
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if got := h.ok("config", "get", "k1", key); got != keys[key]+"\n" {
				t.Errorf("%s is back as %q, want %q; it was\n%s", key, got, keys[key], want)
			}
		}
	}
}

// withKeys puts keys into the configuration of the instance in a backup that is not compressed, beside user.marker.
func withKeys(t *testing.T, backup string, keys map[string]string) {
	t.Helper()
	raw, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r, w := tar.NewReader(bytes.NewReader(raw)), tar.NewWriter(&out)
	for {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if head.Name == "backup/index.yaml" {
			data = []byte(beside(t, string(data), `user.marker: "1"`, keys))
			head.Size = int64(len(data))
		}
		if err := w.WriteHeader(head); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(backup, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// beside is a YAML text with more keys of the mappings that have a line.
func beside(t *testing.T, text, line string, keys map[string]string) string {
	t.Helper()
	var out []string
	for is := range strings.SplitSeq(text, "\n") {
		out = append(out, is)
		if strings.TrimSpace(is) != line {
			continue
		}
		for key, value := range keys {
			quoted, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, strings.TrimSuffix(is, line)+key+": "+string(quoted))
		}
	}
	return strings.Join(out, "\n")
}
