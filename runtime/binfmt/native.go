package binfmt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// exits are the smallest programs of 32-bit architectures: exit(0) by the first
// system call (syscall(2), syscalls(2)).
var exits = map[string][]byte{
	"i686": {0x31, 0xc0, 0x40, 0x31, 0xdb, 0xcd, 0x80},                   // xor eax,eax; inc eax; xor ebx,ebx; int 0x80
	"arm":  {0, 0, 0xa0, 0xe3, 0x01, 0x70, 0xa0, 0xe3, 0x00, 0, 0, 0xef}, // mov r0,#0; mov r7,#1; svc 0
}

// Executes says whether the kernel itself runs the programs of a 32-bit architecture:
// i686 on x86_64 and ARM on aarch64 depend on the kernel (CONFIG_IA32_EMULATION,
// ia32_emulation=, CONFIG_COMPAT) and on the processor. It is found out by running
// one; what cannot be found out is taken to run.
func Executes(ctx context.Context, arch string) bool {
	code, m := exits[arch], machines[arch]
	if m.id == machines["armv7l"].id && !m.wide {
		code = exits["arm"]
	}
	if code == nil {
		return true
	}
	fd, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC)
	if err != nil {
		return true
	}
	f := os.NewFile(uintptr(fd), "probe")
	defer f.Close()
	if _, err := f.Write(program(m.id, code)); err != nil {
		return true
	}
	ro, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return true
	}
	defer ro.Close()
	_ = f.Close()                                      // what is open for writing is not executed (ETXTBSY)
	cmd := exec.CommandContext(ctx, "/proc/self/fd/3") // ro, there
	cmd.ExtraFiles = []*os.File{ro}
	return !errors.Is(cmd.Run(), unix.ENOEXEC)
}

// program is an ELF file of 32 bits, little-endian, with one segment (elf(5)).
func program(id uint16, code []byte) []byte {
	const base, head, ph = 0x10000, 52, 32
	b := make([]byte, head+ph, head+ph+len(code))
	copy(b, "\x7fELF\x01\x01\x01")
	put16, put32 := binary.LittleEndian.PutUint16, binary.LittleEndian.PutUint32
	put16(b[16:], etExec)
	put16(b[18:], id)
	put32(b[20:], 1)
	put32(b[24:], base+head+ph) // entry
	put32(b[28:], head)         // program headers
	if id == machines["armv7l"].id {
		put32(b[36:], 0x05000000) // EF_ARM_EABI_VER5
	}
	put16(b[40:], head)
	put16(b[42:], ph)
	put16(b[44:], 1)
	p := b[head:]
	size := uint32(head + ph + len(code))
	for i, v := range []uint32{1, 0, base, base, size, size, 5, 0x1000} { // PT_LOAD, readable and executable
		put32(p[4*i:], v)
	}
	return append(b, code...)
}
