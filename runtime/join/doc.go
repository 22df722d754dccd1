// Package join starts a program inside the namespaces and cgroups of a running
// instance, without cgo and without a helper program.
//
// A Go process has many threads, and the kernel lets only a process with one
// thread enter a user namespace (man setns). So the work is done by a child made
// with clone3 that shares this process's memory (CLONE_VM) but nothing else, and
// makes raw system calls only, on a stack of its own:
//
//	caller                 child (host's pid namespace)      grandchild (the instance's)
//	clone3 VM|VFORK,
//	  INTO_CGROUP   ---->  write "0" to each v1 "tasks" file
//	(thread waits)         a session keyring of its own
//	                       setns(pidfd, user, mnt, pid, ...)
//	                       bounding set, groups, gid, uid
//	                       chdir, umask, not dumpable
//	                       clone3 VM|VFORK|PARENT    ---->   setsid, terminal, dup 0 1 2
//	                       (waits)                           close-on-exec for the rest,
//	                                                         filter of system calls
//	                       exit                      <----   execve
//	reap the child  <----
//	returns the grandchild's pid, which is the caller's own child (CLONE_PARENT)
//
// Because memory is shared, no page tables are copied (fork of a Go process with
// a large heap takes milliseconds), and a failing step reports itself by writing
// to the plan. The runtime's fork hooks (syscall.runtime_BeforeFork and its
// companions, by linkname as gVisor takes them) block signals around it, and
// reset handlers and mask in the child.
//
// What runs inside cannot reach this program's file on the host (the class of
// CVE-2019-5736) for three reasons, each sufficient: until execve the process is
// not dumpable and its memory belongs to the host's user namespace, so that
// /proc/PID/{exe,mem,root,fd} and ptrace are refused to the instance's root
// (kernel/ptrace.c, __ptrace_may_access); the process is visible in the
// instance's /proc only from the last clone on, with its ids final; and the
// file's owner is no id that the instance's user namespace maps, so that even
// with a descriptor of it, as a program that executes /proc/self/exe could
// get one, it cannot be opened for writing (fs/namei.c, inode_permission).
// No descriptor but 0, 1 and 2 survives execve, and the working directory is
// resolved after the mount namespace is entered (the class of CVE-2024-21626).
package join
