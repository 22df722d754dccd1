package cgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// On v2 there is no controller for devices: a BPF program decides, which the
// kernel asks for each node that is opened or made (BPF_PROG_TYPE_CGROUP_DEVICE,
// kernel/bpf/cgroup.c).

// instruction is struct bpf_insn of linux/bpf.h.
type instruction struct {
	code     uint8
	dst, src uint8
	off      int16
	imm      int32
}

// Opcodes of the program (Documentation/bpf/standardization/instruction-set.rst).
const (
	loadWord   = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
	moveImm    = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K
	moveReg    = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X
	andImm     = unix.BPF_ALU64 | unix.BPF_AND | unix.BPF_K
	shiftRight = unix.BPF_ALU64 | unix.BPF_RSH | unix.BPF_K
	jumpNotImm = unix.BPF_JMP | unix.BPF_JNE | unix.BPF_K
	jumpNotReg = unix.BPF_JMP | unix.BPF_JNE | unix.BPF_X
	exit       = unix.BPF_JMP | unix.BPF_EXIT
)

// Registers: the result, the context until it is read, and what was in it.
const (
	result = iota
	input
	kind
	access
	major
	minor
	wanted
)

// Device types of the context (linux/bpf.h, BPF_DEVCG_DEV_*).
const (
	blockDevice = 1
	charDevice  = 2
)

// deviceProgram allows what is in the list and nothing else. Its context is
// struct bpf_cgroup_dev_ctx: the kind in the low half of the first word, the
// access asked for in the high one, then the numbers.
func deviceProgram(list []Device) []instruction {
	program := []instruction{
		{code: loadWord, dst: kind, src: input},
		{code: moveReg, dst: access, src: kind},
		{code: shiftRight, dst: access, imm: 16},
		{code: andImm, dst: kind, imm: 0xffff},
		{code: loadWord, dst: major, src: input, off: 4},
		{code: loadWord, dst: minor, src: input, off: 8},
	}
	for _, d := range list {
		program = append(program, deviceRule(d)...)
	}
	return append(program, instruction{code: moveImm, dst: result}, instruction{code: exit})
}

// deviceRule ends the program where the device matches.
func deviceRule(d Device) []instruction {
	want := int32(charDevice)
	if d.Type == 'b' {
		want = blockDevice
	}
	rule := []instruction{{code: jumpNotImm, dst: kind, imm: want}}
	if bits := accessBits(d.Access); bits != accessAll {
		rule = append(rule, instruction{code: moveReg, dst: wanted, src: access}, instruction{code: andImm, dst: wanted, imm: bits},
			instruction{code: jumpNotReg, dst: wanted, src: access})
	}
	for reg, n := range map[uint8]int64{major: d.Major, minor: d.Minor} {
		if n != AnyNumber {
			rule = append(rule, instruction{code: jumpNotImm, dst: reg, imm: int32(n)}) //nolint:gosec // validate bounds it
		}
	}
	rule = append(rule, instruction{code: moveImm, dst: result, imm: 1}, instruction{code: exit})
	for i := range rule {
		if code := rule[i].code; code == jumpNotImm || code == jumpNotReg {
			rule[i].off = int16(len(rule) - i - 1) //nolint:gosec // at most 7
		}
	}
	return rule
}

// encode is the program as the kernel takes it.
func encode(program []instruction) []byte {
	var out []byte
	for _, i := range program {
		out = append(out, i.code, i.dst|i.src<<4)
		out = binary.NativeEndian.AppendUint16(out, uint16(i.off)) //nolint:gosec // the same bits
		out = binary.NativeEndian.AppendUint32(out, uint32(i.imm)) //nolint:gosec // the same bits
	}
	return out
}

// filterDevices puts the program of a list on the group, in place of those there.
func (g Group) filterDevices(list []Device) error {
	h, ok := g.layout.Unified()
	if !ok {
		return ErrNoDeviceControl
	}
	dir, err := os.Open(g.dir(h))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // a directory
	before, err := attachedPrograms(dir)
	if err != nil {
		return err
	}
	defer func() {
		for _, fd := range before {
			_ = unix.Close(fd) // of no use to anybody
		}
	}()
	program, err := loadProgram(deviceProgram(list))
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(program) }() // the group has it
	// Both decide for a moment, and allow what both do.
	attr := attachAttr{target: uint32(dir.Fd()), program: uint32(program), kind: unix.BPF_CGROUP_DEVICE, flags: unix.BPF_F_ALLOW_MULTI} //nolint:gosec // descriptors
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return fmt.Errorf("cannot attach the program: %w", err)
	}
	for _, fd := range before {
		attr := attachAttr{target: uint32(dir.Fd()), program: uint32(fd), kind: unix.BPF_CGROUP_DEVICE} //nolint:gosec // descriptors
		if _, err := bpf(unix.BPF_PROG_DETACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
			return fmt.Errorf("cannot detach the program from before: %w", err)
		}
	}
	return nil
}

// The attributes of bpf(2) by command, parts of union bpf_attr of linux/bpf.h.
type (
	loadAttr struct {
		kind, instructions   uint32
		program, licence     uint64
		logLevel, logSize    uint32
		log                  uint64
		kernelVersion, flags uint32
	}
	attachAttr struct{ target, program, kind, flags uint32 }
	queryAttr  struct {
		target, kind, queryFlags, attachFlags uint32
		programs                              uint64
		count, pad                            uint32
	}
	idAttr struct{ id, next, flags uint32 }
)

// maxPrograms is how many the kernel lets a group have (BPF_CGROUP_MAX_PROGS).
const maxPrograms = 64

func attachedPrograms(dir *os.File) (fds []int, err error) {
	var ids [maxPrograms]uint32
	attr := queryAttr{target: uint32(dir.Fd()), kind: unix.BPF_CGROUP_DEVICE, programs: uint64(uintptr(unsafe.Pointer(&ids[0]))), count: maxPrograms} //nolint:gosec // a descriptor
	_, err = bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(&ids)
	if err != nil {
		return nil, fmt.Errorf("cannot list the programs: %w", err)
	}
	for _, id := range ids[:min(attr.count, maxPrograms)] {
		attr := idAttr{id: id}
		fd, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
		if err != nil {
			return fds, fmt.Errorf("cannot open program %d: %w", id, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

func loadProgram(program []instruction) (int, error) {
	if len(program) > math.MaxUint16 {
		return -1, errors.New("there are too many devices")
	}
	code, licence := encode(program), []byte("GPL\x00")
	attr := loadAttr{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, instructions: uint32(len(program)), //nolint:gosec // bounded above
		program: uint64(uintptr(unsafe.Pointer(&code[0]))), licence: uint64(uintptr(unsafe.Pointer(&licence[0]))),
	}
	fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(code)
	runtime.KeepAlive(licence)
	if err != nil {
		return -1, fmt.Errorf("cannot load the program: %w", err)
	}
	return fd, nil
}

// bpf is the system call. A kernel without it for cgroups, and a container in
// which it is not allowed, give ErrNoDeviceControl.
func bpf(command uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR, unix.EAGAIN:
			continue
		case unix.ENOSYS, unix.EPERM, unix.EINVAL:
			return -1, errors.Join(ErrNoDeviceControl, errno)
		default:
			return -1, errno
		}
	}
}
