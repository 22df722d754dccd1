package seccomp

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// call is what a filter sees of a system call.
type call struct {
	arch, number uint32
	args         [6]uint64
}

// data is struct seccomp_data for the interpreter, which loads big-endian words.
func (c call) data() []byte {
	out := binary.BigEndian.AppendUint32(nil, c.number)
	out = binary.BigEndian.AppendUint32(out, c.arch)
	out = binary.BigEndian.AppendUint64(out, 0x7fff12345678)
	for _, a := range c.args {
		out = binary.BigEndian.AppendUint32(out, uint32(a))
		out = binary.BigEndian.AppendUint32(out, uint32(a>>32))
	}
	return out
}

// filter is a policy's program for a machine, in an interpreter.
func filter(t *testing.T, p Policy, goarch string) func(call) action {
	t.Helper()
	program, err := p.assemble(machines()[goarch])
	if err != nil {
		t.Fatal(err)
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	return func(c call) action {
		t.Helper()
		got, err := vm.Run(c.data())
		if err != nil {
			t.Fatal(err)
		}
		return action(got)
	}
}

// defaultDenied are the names of the default list, written out once more.
const defaultDenied = "kexec_load kexec_file_load open_by_handle_at init_module finit_module delete_module acct swapon swapoff iopl ioperm " +
	"bpf io_uring_setup io_uring_enter io_uring_register userfaultfd perf_event_open " +
	"lookup_dcookie nfsservctl uselib _sysctl sysfs ustat vm86 vm86old add_key keyctl request_key"

// TestDefaultPolicy asks for every system call of every convention.
func TestDefaultPolicy(t *testing.T) {
	deniedNames := strings.Fields(defaultDenied)
	seen := map[string]bool{}
	for goarch, m := range machines() {
		run := filter(t, Policy{}, goarch)
		nested := filter(t, Policy{Nesting: true}, goarch)
		for _, a := range m.abis() {
			if len(a.numbers()) < 300 {
				t.Fatalf("the table of %s has %d system calls", a.name, len(a.numbers()))
			}
			for name, n := range a.numbers() {
				want := allow
				if slices.Contains(deniedNames, name) {
					want = absent
					seen[name] = true
				}
				if got := run(call{arch: a.arch, number: n}); got != want {
					t.Errorf("%s %s (%d): %#x, want %#x", a.name, name, n, got, want)
				}
				if slices.Contains([]string{"add_key", "keyctl", "request_key"}, name) {
					want = allow
				}
				if got := nested(call{arch: a.arch, number: n}); got != want {
					t.Errorf("nesting: %s %s (%d): %#x, want %#x", a.name, name, n, got, want)
				}
			}
			umount := a.numbers()["umount2"]
			for flags, want := range map[uint64]action{0: allow, unix.MNT_DETACH: allow, unix.MNT_FORCE: denied, unix.MNT_FORCE | unix.MNT_DETACH: denied, 1 << 32: allow} {
				if got := run(call{arch: a.arch, number: umount, args: [6]uint64{1, flags}}); got != want {
					t.Errorf("%s umount2 with %#x: %#x, want %#x", a.name, flags, got, want)
				}
			}
		}
		if got := run(call{arch: unix.AUDIT_ARCH_MIPS, number: 1}); got != absent {
			t.Errorf("%s: a strange architecture: %#x", goarch, got)
		}
	}
	for _, name := range deniedNames {
		if !seen[name] {
			t.Errorf("%s is a system call of no convention", name)
		}
	}
	x32 := filter(t, Policy{}, "amd64")
	for _, n := range []uint32{0, 39, 512, 545} {
		if got := x32(call{arch: unix.AUDIT_ARCH_X86_64, number: n | x32Bit}); got != absent {
			t.Errorf("x32 call %d: %#x", n, got)
		}
	}
}

func TestPolicies(t *testing.T) {
	errno := func(e unix.Errno) action { return action(unix.SECCOMP_RET_ERRNO | uint32(e)) }
	const x86, i386 = unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386
	for name, tc := range map[string]struct {
		policy Policy
		want   map[call]action
	}{
		"no default": {Policy{NoDefault: true, Deny: "# nothing\nmkdir errno 1"}, map[call]action{{arch: x86, number: 321}: allow, {arch: x86, number: 83}: errno(unix.EPERM), {arch: i386, number: 39}: errno(unix.EPERM)}},
		"deny":       {Policy{Deny: "getppid\ngetpgrp kill"}, map[call]action{{arch: x86, number: 110}: kill, {arch: x86, number: 111}: kill, {arch: x86, number: 321}: absent, {arch: x86, number: 39}: allow}},
		"one convention": {Policy{Deny: "[i386]\ngetppid errno 5\n[all]\ngetpgrp errno 6"}, map[call]action{
			{arch: x86, number: 110}: allow, {arch: i386, number: 64}: errno(unix.EIO), {arch: x86, number: 111}: errno(unix.ENXIO), {arch: i386, number: 65}: errno(unix.ENXIO),
		}},
		"an exception": {Policy{Deny: "bpf allow"}, map[call]action{{arch: x86, number: 321}: allow, {arch: x86, number: 425}: absent}},
		"compat":       {Policy{DenyCompat: true}, map[call]action{{arch: i386, number: 1}: absent, {arch: i386, number: 20}: absent, {arch: x86, number: 39}: allow}},
		"compat alone": {Policy{NoDefault: true, DenyCompat: true}, map[call]action{{arch: i386, number: 20}: absent, {arch: x86, number: 321}: allow}},
		"allow":        {Policy{Allow: "read\nwrite\ngetpid errno 1"}, map[call]action{{arch: x86, number: 0}: allow, {arch: i386, number: 3}: allow, {arch: x86, number: 39}: errno(unix.EPERM), {arch: x86, number: 2}: kill}},
	} {
		run := filter(t, tc.policy, "amd64")
		for c, want := range tc.want {
			if got := run(c); got != want {
				t.Errorf("%s: %#x %d: %#x, want %#x", name, c.arch, c.number, got, want)
			}
		}
	}
	if p, err := (Policy{NoDefault: true}).Compile(); err != nil || len(p) != 0 || p.Install() != nil {
		t.Errorf("a policy that refuses nothing: %d bytes, %v", len(p), err)
	}
	if _, err := (Policy{Allow: "read", DenyCompat: true}).Compile(); err == nil {
		t.Error("allow and deny_compat together were taken")
	}
}

// TestPrivateARM lets programs of 32-bit ARM have the calls that are beside the kernel's table.
func TestPrivateARM(t *testing.T) {
	const setTLS, cacheflush = 0xf0005, 0xf0002
	p := Policy{Allow: "read\nset_tls"}
	if err := CheckAllow(p.Allow); err != nil {
		t.Fatal(err)
	}
	run := filter(t, p, "arm64")
	for number, want := range map[uint32]action{setTLS: allow, cacheflush: kill} {
		if got := run(call{arch: unix.AUDIT_ARCH_ARM, number: number}); got != want {
			t.Errorf("%#x: %#x, want %#x", number, got, want)
		}
	}
	if got := run(call{arch: unix.AUDIT_ARCH_AARCH64, number: setTLS}); got != kill {
		t.Errorf("of 64 bits: %#x", got)
	}
}

func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		"frobnicate":            `there is no system call "frobnicate"`,
		"mkdir errno":           "invalid action",
		"mkdir errno 0":         "invalid error number",
		"mkdir errno 4096":      "invalid error number",
		"mkdir errno 1 [0,1]":   "invalid action",
		"[vax]\nmkdir":          `there is no architecture "vax"`,
		"[all] mkdir":           `there is no system call "[all]"`,
		"reject_force_umount 1": "there is no system call",
		"":                      "",
		"\n# nothing\n\n":       "",
		"mkdir  errno  13 # no": "",
		"[x86]\nmkdir kill":     "",
	} {
		err := CheckDeny(text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if err := CheckAllow("# all of it\n"); err == nil {
		t.Error("an empty list of what is allowed was taken")
	}
	if err := CheckAllow("read\nwrite"); err != nil {
		t.Error(err)
	}
}

// FuzzPolicy looks for policies that pass the check and make no program.
func FuzzPolicy(f *testing.F) {
	f.Add("mkdir errno 1\n[i386]\nkeyctl", "")
	f.Add("", "read\n[all]\nwrite kill")
	f.Add("reject_force_umount", "")
	f.Fuzz(func(t *testing.T, deny, allowed string) {
		if CheckDeny(deny) != nil || allowed != "" && CheckAllow(allowed) != nil || deny != "" && allowed != "" {
			return
		}
		for _, m := range machines() {
			program, err := Policy{Deny: deny, Allow: allowed}.assemble(m)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := bpf.NewVM(program); err != nil && len(program) > 0 {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		if _, err := (Policy{}).Compile(); err != nil {
			b.Fatal(err)
		}
	}
}
