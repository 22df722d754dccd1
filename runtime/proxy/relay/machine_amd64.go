package relay

const (
	auditArch  = 0xc000003e // AUDIT_ARCH_X86_64 (linux/audit.h)
	sysSeccomp = 317
	sysRseq    = 334
)
