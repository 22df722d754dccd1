package runtime

import (
	"debug/elf"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/runtime/seccomp"
)

// exit32 makes a system call by int 0x80, and exits with its negative result.
func exit32(number byte, high byte) []byte {
	return []byte{
		0xb8, number, high, 0, 0, // mov eax, number
		0x31, 0xdb, 0x31, 0xc9, 0x31, 0xd2, // xor ebx, ebx; xor ecx, ecx; xor edx, edx
		0xcd, 0x80, // int 0x80
		0xf7, 0xd8, 0x89, 0xc3, // neg eax; mov ebx, eax
		0xb8, 1, 0, 0, 0, 0xcd, 0x80, // mov eax, exit; int 0x80
		0xf4, // hlt
	}
}

// TestConventions makes system calls by the other ways that x86_64 has.
func TestConventions(t *testing.T) {
	root := busyboxRoot(t)
	x32 := []byte{
		0xb8, 39, 0, 0, 0x40, 0x0f, 0x05, // mov eax, getpid of x32; syscall
		0xf7, 0xd8, 0x89, 0xc7, // neg eax; mov edi, eax
		0xb8, 60, 0, 0, 0, 0x0f, 0x05, // mov eax, exit; syscall
	}
	for name, program := range map[string][]byte{
		"i386-open-by-handle": program32(elf.EM_386, 0, exit32(342&0xff, 342>>8)), "i386-io-uring": program32(elf.EM_386, 0, exit32(425&0xff, 425>>8)),
		"i386-vm86": program32(elf.EM_386, 0, exit32(166, 0)), "i386-getuid": program32(elf.EM_386, 0, exit32(199, 0)), "x32-getpid": program64(elf.EM_X86_64, x32),
		"int80-bpf": program64(elf.EM_X86_64, exit32(357&0xff, 357>>8)),
	} {
		write(t, filepath.Join(root, name), string(program), 0o755)
	}
	s := testSpec(t, root)
	inst := start(t, s)
	for name, want := range map[string]int{"i386-open-by-handle": int(unix.ENOSYS), "i386-io-uring": int(unix.ENOSYS), "i386-vm86": int(unix.ENOSYS), "i386-getuid": 0, "x32-getpid": int(unix.ENOSYS), "int80-bpf": int(unix.ENOSYS)} {
		if out, code := run(t, inst, "", "/"+name); code != want {
			t.Errorf("%s: exit status %d, want %d: %s", name, code, want, out)
		}
	}
	if out, code := runWith(t, inst, "", ExecOptions{Args: []string{"/i386-io-uring"}, UID: 1000, GID: 1000}); code != int(unix.ENOSYS) {
		t.Errorf("as a user: %d, %s", code, out)
	}
	out, code := runWith(t, inst, "", ExecOptions{Args: []string{"grep", "-E", "^(CapEff|CapPrm|CapInh|CapAmb|NoNewPrivs|Seccomp):", "/proc/self/status"}, UID: 1000, GID: 1000})
	const none = ":\t0000000000000000\n"
	if want := "CapInh" + none + "CapPrm" + none + "CapEff" + none + "CapAmb" + none + "NoNewPrivs:\t0\nSeccomp:\t2\n"; code != 0 || out != want {
		t.Errorf("a user's process: %d, %s", code, out)
	}
	strict := testSpec(t, root)
	var err error
	if strict.Filter, err = (seccomp.Policy{DenyCompat: true, Deny: "sethostname errno 1\nmkdir"}).Compile(); err != nil {
		t.Fatal(err)
	}
	inst = start(t, strict)
	if out, code := run(t, inst, "", "/i386-getuid"); code != 128+int(unix.SIGSEGV) {
		t.Errorf("without 32-bit calls: exit status %d: %s", code, out)
	}
	if out, code := run(t, inst, "", "hostname", "x"); code == 0 {
		t.Errorf("sethostname was made: %s", out)
	}
	if out, code := run(t, inst, "", "mkdir", "/tmp/x"); code != 128+int(unix.SIGSYS) {
		t.Errorf("mkdir: exit status %d: %s", code, out)
	}
}
