package runtime

import (
	"debug/elf"
	"encoding/binary"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/runtime/seccomp"
)

// instructions are machine code: words, little-endian.
func instructions(words ...uint32) []byte {
	var out []byte
	for _, w := range words {
		out = binary.LittleEndian.AppendUint32(out, w)
	}
	return out
}

// exitA64 is a program that makes a system call, all arguments 0, and exits with its negative result.
func exitA64(number uint32) []byte {
	return program64(elf.EM_AARCH64, instructions(
		0xd2800008|number<<5,               // mov x8, number
		0xd2800000, 0xd2800001, 0xd2800002, // mov x0, 0; mov x1, 0; mov x2, 0
		0xd4000001,                         // svc 0
		0xcb0003e0, 0xd2800ba8, 0xd4000001, // neg x0, x0; mov x8, exit; svc 0
		0, // udf
	))
}

// exitA32 is the same for 32-bit ARM (EABI).
func exitA32(number uint32) []byte {
	const eabi5 = 0x05000000 // EF_ARM_EABI_VER5
	return program32(elf.EM_ARM, eabi5, instructions(
		0xe3007000|number>>12<<16|number&0xfff, // movw r7, number
		0xe3a00000, 0xe3a01000, 0xe3a02000, // mov r0, 0; mov r1, 0; mov r2, 0
		0xef000000,                         // svc 0
		0xe2600000, 0xe3a07001, 0xef000000, // rsb r0, r0, 0; mov r7, exit; svc 0
		0xe7f000f0, // udf
	))
}

// TestConventions makes system calls by both ways that arm64 has. Its processor must have that of 32 bits (AArch32 at EL0).
func TestConventions(t *testing.T) {
	root := busyboxRoot(t)
	programs := map[string]struct {
		code []byte
		want unix.Errno
	}{
		"open-by-handle": {exitA64(265), unix.ENOSYS}, "bpf": {exitA64(280), unix.ENOSYS}, "io-uring": {exitA64(425), unix.ENOSYS},
		"getuid":             {exitA64(174), 0},
		"arm-open-by-handle": {exitA32(371), unix.ENOSYS}, "arm-bpf": {exitA32(386), unix.ENOSYS}, "arm-io-uring": {exitA32(425), unix.ENOSYS},
		"arm-getuid": {exitA32(199), 0},
	}
	for name, p := range programs {
		write(t, filepath.Join(root, name), string(p.code), 0o755)
	}
	inst := start(t, testSpec(t, root))
	for name, p := range programs {
		if out, code := run(t, inst, "", "/"+name); code != int(p.want) {
			t.Errorf("%s: exit status %d, want %d: %s", name, code, p.want, out)
		}
	}
	if out, code := runWith(t, inst, "", ExecOptions{Args: []string{"/arm-io-uring"}, UID: 1000, GID: 1000}); code != int(unix.ENOSYS) {
		t.Errorf("as a user: %d, %s", code, out)
	}
	strict := testSpec(t, root)
	var err error
	if strict.Filter, err = (seccomp.Policy{DenyCompat: true, Deny: "sethostname errno 1\nmkdirat"}).Compile(); err != nil {
		t.Fatal(err)
	}
	inst = start(t, strict)
	if out, code := run(t, inst, "", "/arm-getuid"); code != 128+int(unix.SIGILL) {
		t.Errorf("without 32-bit calls: exit status %d: %s", code, out)
	}
	if out, code := run(t, inst, "", "/getuid"); code != 0 {
		t.Errorf("a 64-bit call beside that: exit status %d: %s", code, out)
	}
	if out, code := run(t, inst, "", "hostname", "x"); code == 0 {
		t.Errorf("sethostname was made: %s", out)
	}
	if out, code := run(t, inst, "", "mkdir", "/tmp/x"); code != 128+int(unix.SIGSYS) {
		t.Errorf("mkdirat: exit status %d: %s", code, out)
	}
}
