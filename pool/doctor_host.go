package pool

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
)

// hostLow is the free space of the host below which doctor warns: records,
// downloads and logs need some.
const hostLow = 64 << 20

// host checks what poolctl needs of the kernel and of programs.
func (d *doctor) host() {
	for _, err := range flatten(errors.Join(btrfs.Check(), loopdev.Check())) {
		d.failed("host", err)
	}
	features := kernelFeatures()
	for _, f := range []struct{ name, severity, problem, remedy string }{
		{"user_namespaces", SeverityError, "the kernel has no user namespaces: instances cannot be started", "use a kernel with CONFIG_USER_NS"},
		{"cgroup_namespaces", SeverityError, "the kernel has no cgroup namespaces: instances cannot be started", "use a kernel with CONFIG_CGROUPS"},
		{"idmapped_mounts", SeverityError, "the kernel has no idmapped mounts: instances cannot be started", "use Linux 5.15 or later"},
		{"pidfds", SeverityError, "the kernel has no pidfds: instances cannot be started", "use Linux 5.15 or later"},
		{"seccomp", SeverityWarning, "the kernel has no seccomp filters", "use a kernel with CONFIG_SECCOMP_FILTER"},
		{"btrfs_simple_quotas", SeverityNotice, "the kernel has no simple quotas: limits are counted by the slower qgroups", "use Linux 6.7 or later"},
	} {
		if features[f.name] != "true" {
			d.add(Finding{Severity: f.severity, Object: "host", Problem: f.problem, Remedy: f.remedy})
		}
	}
	if text, err := os.ReadFile("/proc/sys/user/max_user_namespaces"); err == nil && strings.TrimSpace(string(text)) == "0" {
		d.add(Finding{
			Severity: SeverityError, Object: "host", Problem: "user namespaces are forbidden: instances cannot be started",
			Remedy: "sysctl user.max_user_namespaces=10000",
		})
	}
	for _, p := range []struct{ program, severity, problem, install string }{
		{"dnsmasq", SeverityWarning, "networks give no leases and names", "apt-get install dnsmasq-base"},
		{"xz", SeverityNotice, "images in xz are unpacked slower", "apt-get install xz-utils"},
		{"mksquashfs", SeverityNotice, "publish makes archives instead of squashfs files", "apt-get install squashfs-tools"},
	} {
		if !hasProgram(p.program) {
			d.add(Finding{Severity: p.severity, Object: "host", Problem: p.program + " is missing: " + p.problem, Remedy: p.install})
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir.Root, &st); err != nil {
		d.failed("host", fmt.Errorf("cannot ask for the space of %s: %w", d.dir.Root, err))
	} else if free := int64(st.Bavail) * st.Bsize; free < hostLow {
		d.add(Finding{
			Severity: SeverityWarning, Object: "host", Problem: fmt.Sprintf("%s has only %s free", d.dir.Root, FormatSize(free)),
			Remedy: "make room there",
		})
	}
}

// hasProgram looks for a program also where su(1) without a login leaves the
// administrator's directories out of PATH.
func hasProgram(name string) bool {
	for _, path := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if _, err := exec.LookPath(path); err == nil {
			return true
		}
	}
	return false
}
