package seccomp

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Program is a filter as the kernel takes it: an array of struct sock_filter
// (linux/filter.h). An empty one is no filter.
type Program []byte

// Offsets of struct seccomp_data (linux/seccomp.h). The low half of an argument
// comes first on the machines of machines().
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetSecond = 24 // args[1]
)

// x32Bit marks the numbers of the x32 convention, which has the architecture of
// x86_64 (man seccomp).
const x32Bit = 0x40000000

// Compile makes the program of a policy for the machine that this is.
func (p Policy) Compile() (Program, error) {
	instructions, err := p.assemble(machines()[runtime.GOARCH])
	if err != nil || len(instructions) == 0 {
		return nil, err
	}
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return nil, fmt.Errorf("cannot make the filter of system calls: %w", err)
	}
	if len(raw) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("cannot make the filter of system calls: it has %d instructions, the kernel takes %d", len(raw), unix.BPF_MAXINSNS)
	}
	out := make(Program, len(raw)*int(unsafe.Sizeof(unix.SockFilter{})))
	for i, r := range raw {
		f := unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
		copy(out[i*int(unsafe.Sizeof(f)):], unsafe.Slice((*byte)(unsafe.Pointer(&f)), unsafe.Sizeof(f)))
	}
	return out, nil
}

// assemble is the program of a policy, none when it refuses nothing. It is a
// straight line for each convention: the kernel remembers which calls are always
// allowed and does not run it for those (kernel/seccomp.c, seccomp_cache_check_allow).
func (p Policy) assemble(m machine) ([]bpf.Instruction, error) {
	rules, other, err := p.rules()
	if err != nil {
		return nil, err
	}
	if len(rules) == 0 && !p.DenyCompat {
		return nil, nil
	}
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: offsetArch, Size: 4}}
	for i, a := range m.abis() {
		var part []bpf.Instruction
		if i == 1 && p.DenyCompat {
			part = []bpf.Instruction{ret(absent)}
		} else {
			part = a.assemble(rules, other)
		}
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: a.arch, SkipTrue: 1},
			bpf.Jump{Skip: uint32(len(part))}) //nolint:gosec // some hundreds
		program = append(program, part...)
	}
	return append(program, ret(absent)), nil // a convention that this kernel cannot have
}

func (m machine) abis() []abi {
	var out []abi
	for _, name := range m {
		out = append(out, abis()[slices.IndexFunc(abis(), func(a abi) bool { return a.name == name })])
	}
	return out
}

// assemble is the part of one convention.
func (a abi) assemble(rules []rule, other action) []bpf.Instruction {
	out := []bpf.Instruction{bpf.LoadAbsolute{Off: offsetNumber, Size: 4}}
	if a.arch == unix.AUDIT_ARCH_X86_64 {
		out = append(out, bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32Bit, SkipTrue: 1}, ret(absent))
	}
	numbers := a.numbers()
	for _, r := range rules {
		n, ok := numbers[r.name]
		if !ok || r.abi != "" && r.abi != a.name {
			continue
		}
		if r.flag == 0 {
			out = append(out, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: n, SkipTrue: 1}, ret(r.action))
			continue
		}
		out = append(out,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: n, SkipTrue: 4},
			bpf.LoadAbsolute{Off: offsetSecond, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: r.flag, SkipTrue: 1},
			ret(r.action),
			bpf.LoadAbsolute{Off: offsetNumber, Size: 4})
	}
	return append(out, ret(other))
}

func ret(a action) bpf.Instruction { return bpf.RetConstant{Val: uint32(a)} }

// Header is the program as seccomp(2) takes it; it is good for as long as the
// program is kept.
func (p Program) Header() *unix.SockFprog {
	n := len(p) / int(unsafe.Sizeof(unix.SockFilter{}))
	return &unix.SockFprog{Len: uint16(n), Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.SliceData(p)))} //nolint:gosec // at most BPF_MAXINSNS
}

// Install puts the filter on the calling thread, which needs CAP_SYS_ADMIN in
// its user namespace: without it only a process that gives up set-id programs
// (no_new_privs) may have one.
func (p Program) Install() error {
	if len(p) == 0 {
		return nil
	}
	header := p.Header()
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(header)))
	runtime.KeepAlive(p)
	if errno == unix.ENOSYS || errno == unix.EINVAL {
		return errors.New("cannot filter system calls: the kernel has no seccomp (CONFIG_SECCOMP_FILTER)")
	}
	if errno != 0 {
		return os.NewSyscallError("cannot filter system calls: seccomp", errno)
	}
	return nil
}
