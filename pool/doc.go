// Package pool composes everything below it into what a user does: storage
// pools, remotes, images, instances, snapshots and networks of one state
// directory.
//
// A System is one opened state directory. Its methods are the operations of the
// command line; each takes the locks it needs, asks the kernel and the pool for
// the truth, and undoes what it made when it fails or is cancelled. The
// packages it stands on own the mechanisms: loopdev (loop devices), btrfs
// (subvolumes), pool/tree (the objects inside one mounted pool), pool/state
// (records and locks), pool/journal (crash safety), remotes (catalogues and
// downloads), images (unpacking), runtime (containers) and runtime/network.
//
// The package does not print, does not exit and knows no flags: package
// main does.
package pool
