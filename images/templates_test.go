package images

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/images/internal/testtree"
)

// templateVolume makes an instance's volume with the given metadata.yaml entries
// and templates.
func templateVolume(t *testing.T, entries string, templates map[string]string) string {
	t.Helper()
	testtree.NeedRoot(t)
	dir := filepath.Join(t.TempDir(), "volume")
	for _, d := range []string{"templates", "rootfs/etc", "rootfs/run/resolve", "rootfs/usr/lib"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{"metadata.yaml": "architecture: x86_64\ntemplates:\n" + entries}
	for name, text := range templates {
		files["templates/"+name] = text
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func inst() TemplateInstance {
	return TemplateInstance{
		Name: "c1", Type: "container", Architecture: "x86_64", Privileged: true,
		Config: map[string]string{"user.x": "y"}, Devices: map[string]map[string]string{"eth0": {"type": "nic"}},
		Properties: map[string]string{"os": "alpine", "variant": "image"},
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func TestApplyTemplates(t *testing.T) {
	vol := templateVolume(t, `
  /etc/hostname: {when: [create, copy], template: hostname.tpl}
  /etc/hosts: {when: [start], template: hosts.tpl}
  /etc/only: {when: [create], template: hosts.tpl, create_only: true}
  /etc/new-only: {when: [create], template: props.tpl, create_only: true, properties: {variant: own}}
  /srv/a/b/c: {when: [create], template: hostname.tpl, uid: 5, gid: 6, mode: "0600"}
  etc/relative: {when: [create], template: hostname.tpl}
`, map[string]string{
		"hostname.tpl": "{{ container.name }}\n",
		"hosts.tpl":    "127.0.1.1\t{{ instance.name }} {{ trigger }} {{ path }} {{ config_get(\"user.x\", \"\") }} {{ devices.eth0.type }} {{ instance.privileged }}\n",
		"props.tpl":    "{{ properties.os }} {{ properties.variant }}",
	})
	root := filepath.Join(vol, "rootfs")
	for name, text := range map[string]string{"etc/hostname": "old", "etc/only": "keep"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	old := filepath.Join(root, "etc/hostname")
	if err := os.Chown(old, 7, 8); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(old, "user.label", []byte("l"), 0); err != nil {
		t.Fatal(err)
	}
	for _, trigger := range []string{"create", "start", "rename"} {
		if err := ApplyTemplates(context.Background(), vol, trigger, inst()); err != nil {
			t.Fatal(err)
		}
	}
	tree := testtree.Read(t, root, testtree.Options{})
	for name, want := range map[string]struct {
		text     string
		mode     uint32
		uid, gid uint32
	}{
		"etc/hostname": {"c1\n", 0o640, 7, 8},
		"etc/hosts":    {"127.0.1.1\tc1 start /etc/hosts y nic true\n", 0o644, 0, 0},
		"etc/only":     {"keep", 0o640, 0, 0},
		"etc/new-only": {"alpine own", 0o644, 0, 0},
		"srv/a/b/c":    {"c1\n", 0o600, 5, 6},
		"etc/relative": {"c1\n", 0o644, 0, 0},
	} {
		n := tree[name]
		if got := read(t, filepath.Join(root, name)); got != want.text || n.Mode != unix.S_IFREG|want.mode || n.UID != want.uid || n.GID != want.gid {
			t.Errorf("%s: %q %o %d:%d, want %+v", name, got, n.Mode, n.UID, n.GID, want)
		}
	}
	if tree["etc/hostname"].Xattrs["user.label"] != "l" {
		t.Error("the extended attribute is lost")
	}
	if tree["srv/a"].Mode != unix.S_IFDIR|0o755 {
		t.Errorf("srv/a: %o", tree["srv/a"].Mode)
	}
	for name := range tree {
		if strings.Contains(name, ".template-") {
			t.Errorf("%s was left", name)
		}
	}
}

// TestTemplateLinks: symbolic links of the guest lead inside of its root only.
func TestTemplateLinks(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		links  map[string]string
		target string
		lands  string // in rootfs; "" = refused
	}{
		"absolute file link":      {map[string]string{"etc/resolv.conf": "/run/resolve/stub"}, "/etc/resolv.conf", "run/resolve/stub"},
		"relative file link":      {map[string]string{"etc/resolv.conf": "../run/resolve/stub"}, "/etc/resolv.conf", "run/resolve/stub"},
		"above the root":          {map[string]string{"etc/x": "../../../../../.." + outside + "/f"}, "/etc/x", outside[1:] + "/f"},
		"absolute to the outside": {map[string]string{"etc/x": outside + "/f"}, "/etc/x", outside[1:] + "/f"},
		"directory link":          {map[string]string{"lib": "usr/lib"}, "/lib/f", "usr/lib/f"},
		"dotdot after a link":     {map[string]string{"l": "usr/lib"}, "/l/../f", "usr/f"},
		"dotdot in the path":      {nil, "/../../../etc/f", "etc/f"},
		"link to a missing place": {map[string]string{"etc/x": "/made/up/f"}, "/etc/x", "made/up/f"},
		"chain":                   {map[string]string{"a": "b", "b": "/c", "c": "etc/f"}, "/a", "etc/f"},
		"loop":                    {map[string]string{"a": "b", "b": "a"}, "/a", ""},
		"directory":               {nil, "/etc", ""},
		"root":                    {nil, "/", ""},
		"dots only":               {nil, "/..", ""},
		"device":                  {map[string]string{"null": "NODE"}, "/null", ""},
	} {
		t.Run(name, func(t *testing.T) {
			vol := templateVolume(t, "  "+tc.target+": {when: [start], template: t.tpl}\n", map[string]string{"t.tpl": "text"})
			root := filepath.Join(vol, "rootfs")
			for at, to := range tc.links {
				path := filepath.Join(root, at)
				var err error
				if to == "NODE" {
					err = unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
				} else {
					err = os.Symlink(to, path)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			err := ApplyTemplates(context.Background(), vol, "start", inst())
			if (err != nil) != (tc.lands == "") {
				t.Fatalf("got %v", err)
			}
			if tc.lands != "" && read(t, filepath.Join(root, tc.lands)) != "text" {
				t.Error("it landed elsewhere")
			}
			for at, to := range tc.links {
				if got, _ := os.Readlink(filepath.Join(root, at)); to != "NODE" && got != to {
					t.Errorf("the link %s became %q", at, got)
				}
			}
			if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
				t.Errorf("outside: %v, %v", left, err)
			}
		})
	}
}

// TestTemplateRefused: the error names the template and its target, and nothing
// is left half-written.
func TestTemplateRefused(t *testing.T) {
	for name, tc := range map[string]struct{ entry, text, want string }{
		"syntax":        {"template: t.tpl", "{% if %}", `cannot apply image template "t.tpl" to "/etc/f"`},
		"include":       {"template: t.tpl", `{% include "/etc/passwd" %}`, "include"},
		"missing":       {"template: other.tpl", "", "no such file"},
		"path":          {"template: ../metadata.yaml", "", "not a plain file name"},
		"dotdot":        {"template: ..", "", "not a plain file name"},
		"empty":         {"template: ''", "", "not a plain file name"},
		"link":          {"template: link.tpl", "", "symbolic link"},
		"fifo":          {"template: fifo.tpl", "", "not a plain file"},
		"bad mode":      {"template: t.tpl, mode: 99", "x", `its mode "99" is invalid`},
		"large mode":    {"template: t.tpl, mode: '100644'", "x", "its mode"},
		"bad uid":       {"template: t.tpl, uid: root", "x", `its uid "root" is invalid`},
		"uid -1":        {"template: t.tpl, uid: 4294967295", "x", "its uid"},
		"too much":      {"template: t.tpl", strings.Repeat("{% for a in trigger %}", 12) + "xxxxxxxxxxxxxxxx" + strings.Repeat("{% endfor %}", 12), "writes more than 4 MiB"},
		"long template": {"template: t.tpl", strings.Repeat("x", 300<<10), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			vol := templateVolume(t, "  /etc/f: {when: [create], "+tc.entry+"}\n", map[string]string{"t.tpl": tc.text})
			if err := os.Symlink("/etc/passwd", filepath.Join(vol, "templates/link.tpl")); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mkfifo(filepath.Join(vol, "templates/fifo.tpl"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := ApplyTemplates(context.Background(), vol, "create", inst())
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), `to "/etc/f"`) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if left, err := os.ReadDir(filepath.Join(vol, "rootfs/etc")); err != nil || len(left) > 0 {
				t.Errorf("left: %v %v", left, err)
			}
		})
	}
}

// TestTemplatesOfRealImages applies those of a real image.
func TestTemplatesOfRealImages(t *testing.T) {
	testtree.NeedRoot(t)
	meta, squash := splitFiles(t)
	dir := t.TempDir()
	req := Request{Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", squash, nil), Dir: dir}
	if _, err := Unpack(context.Background(), req); err != nil {
		t.Fatal(err)
	}
	if err := ApplyTemplates(context.Background(), dir, "create", inst()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(dir, "rootfs/etc/hostname")); got != "c1\n" {
		t.Errorf("hostname %q", got)
	}
	if got := read(t, filepath.Join(dir, "rootfs/etc/hosts")); !strings.HasPrefix(got, "127.0.1.1\tc1\n") {
		t.Errorf("hosts %q", got)
	}
}
