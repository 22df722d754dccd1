package binfmt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Handler is an interpreter that is registered.
type Handler struct {
	Name        string
	Interpreter string // a path on the host
	Enabled     bool
	// Fixed says that the kernel has opened the interpreter already (flag F), so
	// that it is there in a root file system without it.
	Fixed bool

	offset      int
	magic, mask []byte // of one length
}

// maxHandler bounds what is read of one handler, in bytes: magic and mask have 128
// each at most.
const maxHandler = 64 << 10

// Handlers lists the handlers of files by their first bytes, not those by the ending
// of a name. When binfmt_misc as a whole is switched off, all are not enabled. A
// kernel without binfmt_misc has none. It is not necessary that it is mounted, and
// nothing is mounted.
func Handlers() ([]Handler, error) {
	dir, err := open()
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOSYS) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the handlers of binfmt_misc: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot read the handlers of binfmt_misc: %w", err)
	}
	status, err := read(dir, "status")
	if err != nil {
		return nil, fmt.Errorf("cannot read the handlers of binfmt_misc: %w", err)
	}
	on := strings.TrimSpace(string(status)) == "enabled"
	var all []Handler
	for _, name := range names {
		if name == "status" || name == "register" {
			continue
		}
		text, err := read(dir, name)
		if errors.Is(err, unix.ENOENT) {
			continue // unregistered meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the handler %q of binfmt_misc: %w", name, err)
		}
		if h, ok := parse(name, string(text)); ok {
			h.Enabled = h.Enabled && on
			all = append(all, h)
		}
	}
	return all, nil
}

// open opens the file system by a mount that is in no place (fsmount(2)): where it
// is mounted, if it is, does not matter.
func open() (*os.File, error) {
	fs, err := unix.Fsopen("binfmt_misc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer func() { _ = unix.Close(fs) }()
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	defer func() { _ = unix.Close(mnt) }()
	fd, err := unix.Openat(mnt, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("openat", err)
	}
	return os.NewFile(uintptr(fd), "binfmt_misc"), nil
}

func read(dir *os.File, name string) ([]byte, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxHandler))
}

// parse reads a handler's file (fs/binfmt_misc.c, entry_status).
func parse(name, text string) (Handler, bool) {
	h := Handler{Name: name}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		var err error
		switch key {
		case "enabled":
			h.Enabled = true
		case "interpreter":
			h.Interpreter = value
		case "flags:":
			h.Fixed = strings.Contains(value, "F")
		case "offset":
			h.offset, err = strconv.Atoi(value)
		case "magic":
			h.magic, err = hex.DecodeString(value)
		case "mask":
			h.mask, err = hex.DecodeString(value)
		}
		if err != nil {
			return Handler{}, false
		}
	}
	if h.mask == nil {
		h.mask = bytes.Repeat([]byte{0xff}, len(h.magic))
	}
	return h, len(h.magic) > 0 && len(h.mask) == len(h.magic) && h.offset >= 0
}

// Runs says whether the handler takes the programs of an architecture (the kernel's
// name, uname -m).
func (h Handler) Runs(arch string) bool {
	for _, kind := range []byte{etExec, etDyn} {
		if head := header(arch, kind); head != nil && h.matches(head) {
			return true
		}
	}
	return false
}

func (h Handler) matches(head []byte) bool {
	if h.offset+len(h.magic) > len(head) {
		return false
	}
	for i, m := range h.magic {
		if (head[h.offset+i]^m)&h.mask[i] != 0 {
			return false
		}
	}
	return true
}

// Types of ELF files (elf(5)): an executable, and a position-independent one.
const (
	etExec = 2
	etDyn  = 3
)

// machine is what tells an architecture's programs apart in the ELF header.
type machine struct {
	wide, big bool   // 64 bits, big-endian
	id        uint16 // e_machine (elf.h, EM_*)
}

var machines = map[string]machine{
	"i686": {id: 3}, "x86_64": {wide: true, id: 62},
	"armv6l": {id: 40}, "armv7l": {id: 40}, "armv8l": {id: 40}, "aarch64": {wide: true, id: 183},
	"ppc": {big: true, id: 20}, "ppc64": {wide: true, big: true, id: 21}, "ppc64le": {wide: true, id: 21},
	"mips": {big: true, id: 8}, "mips64": {wide: true, big: true, id: 8},
	"s390x": {wide: true, big: true, id: 22}, "riscv32": {id: 243}, "riscv64": {wide: true, id: 243},
	"loongarch64": {wide: true, id: 258},
}

// header is how a program of the architecture begins, as far as the kernel looks
// (BINPRM_BUF_SIZE, 256 bytes), nil for one that is not known.
func header(arch string, kind byte) []byte {
	m, ok := machines[arch]
	if !ok {
		return nil
	}
	b := make([]byte, 256)
	copy(b, "\x7fELF\x01\x01\x01")
	lo, hi := 0, 1
	if m.wide {
		b[4] = 2
	}
	if m.big {
		b[5] = 2
		lo, hi = 1, 0
	}
	b[16+lo] = kind
	b[18+lo], b[18+hi] = byte(m.id), byte(m.id>>8)
	b[20+lowOf(m.big)] = 1 // e_version
	return b
}

// lowOf is where the lowest byte of a 32-bit word is.
func lowOf(big bool) int {
	if big {
		return 3
	}
	return 0
}
