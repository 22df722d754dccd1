package rootfs

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"poolctl/images"
)

// hintError is an error with a line on what to do about it.
type hintError struct{ msg, hint string }

func (e *hintError) Error() string { return e.msg }

// Hint is what the user can do.
func (e *hintError) Hint() string { return e.hint }

const busyboxHint = "install a static busybox; on Debian and Ubuntu: apt install busybox-static"

var busyboxVersion = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`BusyBox v([0-9]+(?:\.[0-9]+)+)`) })

// openBusybox is a small system of the host's static busybox: its init, a login
// on the console without a password, a DHCP client.
func openBusybox(ctx context.Context) (*Template, error) {
	program, err := exec.LookPath("busybox")
	if err != nil {
		return nil, &hintError{"there is no busybox on this machine", busyboxHint}
	}
	content, err := readStatic(program)
	if err != nil {
		return nil, err
	}
	version, applets, err := askBusybox(ctx, program)
	if err != nil {
		return nil, err
	}
	t := &Template{Need: int64(len(content)) + 4096*int64(len(applets))}
	t.Metadata.Properties = map[string]string{
		"os": "BusyBox", "release": version, "name": "busybox-" + version, "variant": "default",
		"description": "BusyBox " + version + " of this host",
	}
	t.Metadata.Templates = map[string]*images.Template{
		"/etc/hostname": {When: []string{"create", "copy", "rename"}, Template: "hostname.tpl"},
	}
	t.fill = func(w *tree) error {
		fillBusybox(w, content, applets)
		return nil
	}
	return t, nil
}

// readStatic reads the program, and refuses one that needs a dynamic linker,
// which the root would not have.
func readStatic(program string) (_ []byte, err error) {
	f, err := elf.Open(program)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", program, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, &hintError{program + " is linked dynamically: alone in a root filesystem it would not run", busyboxHint}
		}
	}
	return os.ReadFile(program)
}

// askBusybox asks a busybox for its version, and the paths of what it can be
// called as. One without what a system is made of is refused.
func askBusybox(ctx context.Context, program string) (version string, applets []string, err error) {
	help, err := exec.CommandContext(ctx, program, "--help").Output()
	if err != nil {
		return "", nil, fmt.Errorf("cannot run %s: %w", program, err)
	}
	found := busyboxVersion().FindSubmatch(help)
	if found == nil {
		return "", nil, &hintError{program + " does not say its version", busyboxHint}
	}
	list, err := exec.CommandContext(ctx, program, "--list-full").Output()
	if err != nil {
		return "", nil, fmt.Errorf("cannot run %s: %w", program, err)
	}
	applets = parseApplets(string(list))
	for _, need := range []string{"init", "sh", "getty", "login", "udhcpc", "ip", "hostname", "mount"} {
		if !slices.ContainsFunc(applets, func(a string) bool { return path.Base(a) == need }) {
			return "", nil, &hintError{fmt.Sprintf("%s has no %s", program, need), busyboxHint}
		}
	}
	return string(found[1]), applets, nil
}

// parseApplets reads the output of busybox --list-full: relative paths. What is
// none, or lies elsewhere than programs do, is left out.
func parseApplets(list string) []string {
	var out []string
	for _, a := range strings.Fields(list) {
		if path.Clean(a) == a && slices.Contains([]string{"bin", "sbin", "usr/bin", "usr/sbin"}, path.Dir(a)) {
			out = append(out, a)
		}
	}
	return out
}

// fillBusybox writes the root. The links are relative: so they lead to the same
// busybox where the root is only looked into.
func fillBusybox(w *tree, program []byte, applets []string) {
	for _, d := range []string{
		"bin", "dev", "etc", "etc/init.d", "etc/udhcpc", "home", "lib", "mnt", "opt", "proc", "run", "sbin", "srv", "sys",
		"usr", "usr/bin", "usr/lib", "usr/sbin", "usr/share", "usr/share/udhcpc",
		"var", "var/cache", "var/empty", "var/lib", "var/log", "var/spool",
	} {
		w.dir(d, 0o755)
	}
	w.dir("root", 0o700)
	w.dir("tmp", os.ModeSticky|0o777)
	w.dir("var/tmp", os.ModeSticky|0o777)
	w.link("var/run", "../run")
	w.file("bin/busybox", 0o755, program)
	for _, a := range applets {
		w.link(a, strings.Repeat("../", strings.Count(a, "/"))+"bin/busybox")
	}
	for _, f := range busyboxFiles() {
		w.file(f.name, f.mode, []byte(f.content))
	}
	w.link("etc/mtab", "../proc/mounts")
	w.link("etc/udhcpc/default.script", "../../usr/share/udhcpc/default.script")
}
