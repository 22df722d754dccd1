package runtime

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// The start of the programs of program32 and program64.
const programBase = 0x10000

// program32 is a 32-bit executable of some machine code, flags what the machine wants in its header.
func program32(machine elf.Machine, flags uint32, code []byte) []byte {
	var b bytes.Buffer
	header := elf.Header32{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS32), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Flags: flags,
		Entry: programBase + 52 + 32, Phoff: 52, Ehsize: 52, Phentsize: 32, Phnum: 1,
	}
	size := uint32(52 + 32 + len(code))
	segment := elf.Prog32{Type: uint32(elf.PT_LOAD), Vaddr: programBase, Paddr: programBase, Filesz: size, Memsz: size, Flags: uint32(elf.PF_R | elf.PF_X), Align: 4096}
	_ = binary.Write(&b, binary.LittleEndian, header)
	_ = binary.Write(&b, binary.LittleEndian, segment)
	b.Write(code)
	return b.Bytes()
}

// program64 is the same of 64 bits.
func program64(machine elf.Machine, code []byte) []byte {
	var b bytes.Buffer
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Entry: programBase + 64 + 56, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	size := uint64(64 + 56 + len(code))
	segment := elf.Prog64{Type: uint32(elf.PT_LOAD), Vaddr: programBase, Paddr: programBase, Filesz: size, Memsz: size, Flags: uint32(elf.PF_R | elf.PF_X), Align: 4096}
	_ = binary.Write(&b, binary.LittleEndian, header)
	_ = binary.Write(&b, binary.LittleEndian, segment)
	b.Write(code)
	return b.Bytes()
}
