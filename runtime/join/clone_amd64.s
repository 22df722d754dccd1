#include "textflag.h"

// The kernel starts the child behind the same SYSCALL instruction, with the same
// registers but the stack of args (man clone3). R12, which the system call
// keeps, carries what the child needs. There are two functions because the
// linker checks the stack depth of nosplit functions: it would see a loop in one.
#define CLONE(MAIN) \
	MOVQ	args+0(FP), DI \
	MOVQ	size+8(FP), SI \
	MOVQ	p+16(FP), R12 \
	MOVQ	$435, AX \ // SYS_clone3
	SYSCALL \
	TESTQ	AX, AX \
	JEQ	child \
	CMPQ	AX, $0xfffffffffffff001 \
	JCC	failed \
	MOVQ	AX, pid+24(FP) \
	MOVQ	$0, errno+32(FP) \
	RET \
failed: \
	NEGQ	AX \
	MOVQ	$0, pid+24(FP) \
	MOVQ	AX, errno+32(FP) \
	RET \
child: \
	XORQ	BP, BP \
	MOVQ	R12, 0(SP) \
	CALL	MAIN(SB) \
	MOVQ	$127, DI \
	MOVQ	$231, AX \ // SYS_exit_group
	SYSCALL \
	INT	$3

// func cloneChild(args *cloneArgs, size uintptr, p *plan) (pid, errno uintptr)
TEXT ·cloneChild(SB),NOSPLIT,$0-40
	CLONE(·childMain)

// func cloneGrandchild(args *cloneArgs, size uintptr, p *plan) (pid, errno uintptr)
TEXT ·cloneGrandchild(SB),NOSPLIT,$0-40
	CLONE(·grandchildMain)

// func cloneScript(args *cloneArgs, size uintptr, s *script) (pid, errno uintptr)
TEXT ·cloneScript(SB),NOSPLIT,$0-40
	CLONE(·scriptMain)
