// Package guestfs reads and changes files of an instance's root from the host,
// whether the instance runs or not, without ever leaving that root: whatever the
// guest has made of its directories, and makes of them meanwhile.
//
// Every path is resolved by the kernel with the guest's root as the root
// (man openat2, RESOLVE_IN_ROOT), without magic links: an absolute symbolic link,
// or "..", leads to where it leads inside. What is opened is looked at before it
// is opened for data: a device node or a fifo of the guest's is never opened.
//
// Files of a running instance are reached through its init's root, so that what
// is mounted inside is seen as the guest sees it. The ids there are the host's:
// Root translates them, and makes files with the file system ids of the
// instance's (man setfsuid), since the kernel has no other owner for them.
package guestfs
