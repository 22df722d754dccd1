package seccomp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Policy is what a filter is made of.
type Policy struct {
	// NoDefault leaves out the default list.
	NoDefault bool
	// Nesting leaves out of the default list what container managers inside need.
	Nesting bool
	// DenyCompat refuses the system calls of the machine's 32-bit convention.
	DenyCompat bool
	// Deny lists system calls to refuse, Allow all that there are to be: lines of
	// NAME, NAME errno NUMBER or NAME kill, and [ARCHITECTURE] or [all] before
	// those that are for it, as in LXC's policies (man lxc.container.conf,
	// lxc.seccomp.profile). What is refused without an action ends the process.
	// Allow leaves no room for the others.
	Deny, Allow string
}

// defaultDeny is refused to everything that runs in an instance, over what its
// user namespace keeps from it. Each would work in a user namespace, or for a
// privileged instance, and is about the machine or a part of the kernel with a
// long record of faults. The answer is that of a kernel that was built without
// it, for which programs have another way: EPERM would end some of them.
const defaultDeny = `
# What LXC's default policy refuses. The force of umount -f reaches network
# filesystems that others use.
reject_force_umount
kexec_load errno 38
open_by_handle_at errno 38
init_module errno 38
finit_module errno 38
delete_module errno 38
# As the above, of later kernels.
kexec_file_load errno 38
# The machine's accounting, swap and clock hardware.
acct errno 38
swapon errno 38
swapoff errno 38
iopl errno 38
ioperm errno 38
# Kernel interfaces by which most of the escapes of the last years went.
bpf errno 38
io_uring_setup errno 38
io_uring_enter errno 38
io_uring_register errno 38
userfaultfd errno 38
perf_event_open errno 38
# Leftovers that no program uses, and that nobody tests.
lookup_dcookie errno 38
nfsservctl errno 38
uselib errno 38
_sysctl errno 38
sysfs errno 38
ustat errno 38
vm86 errno 38
vm86old errno 38
`

// keyringDeny is refused as well, but for nesting: keys belong to user ids of the
// host, that instances share, and to no namespace that they have of their own.
const keyringDeny = `
add_key errno 38
keyctl errno 38
request_key errno 38
`

// action is what a filter returns (man seccomp).
type action uint32

const (
	allow action = unix.SECCOMP_RET_ALLOW
	kill  action = unix.SECCOMP_RET_KILL_PROCESS
	// absent is that of a system call that there is not.
	absent = action(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))
	denied = action(unix.SECCOMP_RET_ERRNO | uint32(unix.EACCES))
)

// rule is about one system call, of one convention or of all.
type rule struct {
	abi, name string // abi is "" for all
	action    action
	// flag makes it one about calls with that bit in the second argument only.
	flag uint32
}

// forceUmount is LXC's reject_force_umount.
var forceUmount = rule{name: "umount2", action: denied, flag: unix.MNT_FORCE}

// maxErrno is the greatest errno that a system call can return (linux/err.h).
const maxErrno = 4095

// parse reads the lines of a policy. Rules without an action get bare.
func parse(text string, bare action) ([]rule, error) {
	var rules []rule
	abi := ""
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if name, ok := strings.CutPrefix(f[0], "["); ok && len(f) == 1 && strings.HasSuffix(name, "]") {
			var err error
			if abi, err = findABI(strings.TrimSuffix(name, "]")); err != nil {
				return nil, err
			}
			continue
		}
		if f[0] == "reject_force_umount" && len(f) == 1 {
			r := forceUmount
			r.abi = abi
			rules = append(rules, r)
			continue
		}
		r := rule{abi: abi, name: f[0], action: bare}
		if !known(r.name) {
			return nil, fmt.Errorf("there is no system call %q", r.name)
		}
		var err error
		if r.action, err = parseAction(f[1:], bare); err != nil {
			return nil, fmt.Errorf("system call %s: %w", r.name, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func parseAction(f []string, bare action) (action, error) {
	switch {
	case len(f) == 0:
		return bare, nil
	case len(f) == 1 && f[0] == "kill":
		return kill, nil
	case len(f) == 1 && f[0] == "allow":
		return allow, nil
	case len(f) == 2 && f[0] == "errno":
		n, err := strconv.ParseUint(f[1], 10, 16)
		if err != nil || n == 0 || n > maxErrno {
			return 0, fmt.Errorf("invalid error number %q: want 1 to %d", f[1], maxErrno)
		}
		return action(unix.SECCOMP_RET_ERRNO | uint32(n)), nil
	}
	return 0, fmt.Errorf("invalid action %q: want errno NUMBER, kill or allow", strings.Join(f, " "))
}

// CheckDeny says what is wrong with a Policy's Deny, and CheckAllow with its Allow.
func CheckDeny(text string) error {
	_, err := parse(text, kill)
	return err
}

// CheckAllow is CheckDeny for Allow.
func CheckAllow(text string) error {
	rules, err := parse(text, allow)
	if err == nil && len(rules) == 0 {
		err = errors.New("it allows no system call at all")
	}
	return err
}

// rules are those of the policy, the first that matches counts, and what becomes
// of all other system calls.
func (p Policy) rules() (rules []rule, other action, err error) {
	if p.Allow != "" {
		if p.Deny != "" || p.DenyCompat {
			return nil, 0, errors.New("a list of the allowed system calls leaves nothing to deny")
		}
		rules, err = parse(p.Allow, allow)
		return rules, kill, err
	}
	text := ""
	if !p.NoDefault {
		text = defaultDeny
		if !p.Nesting {
			text += keyringDeny
		}
	}
	own, err := parse(p.Deny, kill)
	if err != nil {
		return nil, 0, err
	}
	rules, err = parse(text, kill)
	return append(own, rules...), allow, err
}
