// Package seccomp says which system calls (man seccomp) the processes of an
// instance may make: it turns names into a BPF program for each of the machine's
// system call conventions, and installs it on the calling thread. It owns the
// default list and the syntax of security.syscalls.*, and knows nothing of
// instances.
//
// The numbers of table_*.go are those of golang.org/x/sys/unix, which come from
// the kernel's tables.
package seccomp

//go:generate go run gen.go
