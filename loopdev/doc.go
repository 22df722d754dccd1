// Package loopdev attaches files to Linux loop devices, and finds, holds and
// detaches those devices.
//
// It owns what loop(4) offers: numbers, backing files, flags and lifetimes. It
// knows nothing of what is on a device, and never mounts one.
//
// Two rules shape it:
//
//   - A device is identified by its backing file's device and inode number, as
//     the kernel reports them, never by a file name: names are cut at 64 bytes
//     in the kernel's status, change by rename and differ between hard links.
//   - A file is attached once. Two loop devices on one file have two page
//     caches and corrupt what is on it. Attach checks under a flock(2) of the
//     file, and once more when it is done, as losetup(8) takes no such lock.
//
// Devices are attached with LO_FLAGS_AUTOCLEAR: the kernel detaches a device by
// itself when its last user is gone. A [Device] is such a user, and so is a
// mount. Whoever attaches, mounts and then closes the Device leaves a device
// that ends with the mount, and a process killed on the way leaves nothing.
//
// Every function needs root (CAP_SYS_ADMIN and the right to open /dev/loopN).
package loopdev
