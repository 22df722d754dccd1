// Package holders finds out who holds a mount, a file system or a device: the
// mounts of every mount namespace of the machine, and the processes that have
// something open.
//
// The kernel says no more than EBUSY. What this package says is for people: by
// the time it is read a process may have ended, and what the kernel itself holds
// (a swap file, an NFS export) has no process. It decides nothing.
package holders
