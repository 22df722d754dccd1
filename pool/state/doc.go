// Package state owns the state directory: what poolctl keeps outside its pools.
//
//	ROOT/pools/NAME.json       PoolRecord
//	ROOT/networks/NAME.json    NetworkRecord (networks/NAME/ belongs to package network)
//	ROOT/profiles/NAME.json    Profile
//	ROOT/remotes.json          Remotes
//	ROOT/disks/                the image files of pools whose source the user did not choose
//	ROOT/storage-pools/NAME/   mount point of a pool
//	ROOT/cache/REMOTE/         a remote's catalogue
//	ROOT/logs/                 logs of instances
//	RUN/locks/                 flock(2) files; never deleted, so that two holders never lock two different inodes
//
// RUN is /run/poolctl for the default ROOT, /var/lib/poolctl, and ROOT/run for any other, so that several state
// directories never meet.
//
// Records hold desired state only. What the kernel knows (loop numbers, mounts, processes) is never stored here. A record
// is replaced by one rename, after an fsync of the new file and before one of the directory (rename(2), fsync(2)).
//
// Names are checked before they become paths. Locks are taken in the order state, pool, instance, image.
//
// The package knows nothing of btrfs, loop devices or containers.
package state
