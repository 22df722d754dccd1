// Package backup reads and writes the parts of a backup file of LXD's and Incus's that describe it: backup/index.yaml, and
// in one with btrfs send streams ("optimized") backup/optimized_header.yaml and the names of the streams.
//
// Of a container a backup holds, in this order:
//
//	backup/index.yaml
//	backup/optimized_header.yaml    optimized: which subvolumes there are
//	backup/snapshots/SNAP/...       the volume of a snapshot, the oldest first: rootfs, metadata.yaml, templates, backup.yaml
//	backup/snapshots/SNAP.bin       optimized: what changed since the one before
//	backup/snapshots/SNAP_PATH.bin  optimized: a subvolume that is nested in it, see EncodePath
//	backup/container/..., backup/container.bin the volume of the container itself
//
// Of a custom volume the same, with "volume" for "container" and "volume-snapshots" for "snapshots".
//
// It knows nothing of pools and of tar, and not what a container's record says.
package backup
