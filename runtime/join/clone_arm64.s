#include "textflag.h"

// See clone_amd64.s. SVC keeps all registers but R0.
#define CLONE(MAIN) \
	MOVD	args+0(FP), R0 \
	MOVD	size+8(FP), R1 \
	MOVD	p+16(FP), R19 \
	MOVD	$435, R8 \ // SYS_clone3
	SVC \
	CBZ	R0, child \
	CMN	$4095, R0 \
	BCS	failed \
	MOVD	R0, pid+24(FP) \
	MOVD	ZR, errno+32(FP) \
	RET \
failed: \
	NEG	R0, R0 \
	MOVD	ZR, pid+24(FP) \
	MOVD	R0, errno+32(FP) \
	RET \
child: \
	MOVD	ZR, R29 \
	MOVD	R19, 8(RSP) \
	CALL	MAIN(SB) \
	MOVD	$127, R0 \
	MOVD	$94, R8 \ // SYS_exit_group
	SVC \
	BRK

// func cloneChild(args *cloneArgs, size uintptr, p *plan) (pid, errno uintptr)
TEXT ·cloneChild(SB),NOSPLIT,$0-40
	CLONE(·childMain)

// func cloneGrandchild(args *cloneArgs, size uintptr, p *plan) (pid, errno uintptr)
TEXT ·cloneGrandchild(SB),NOSPLIT,$0-40
	CLONE(·grandchildMain)

// func cloneScript(args *cloneArgs, size uintptr, s *script) (pid, errno uintptr)
TEXT ·cloneScript(SB),NOSPLIT,$0-40
	CLONE(·scriptMain)
