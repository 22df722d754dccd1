// Package backup reads and writes the parts of a backup file of LXD's and Incus's that describe it: backup/index.yaml, and
// in one with btrfs send streams ("optimized") backup/optimized_header.yaml and the names of the streams.
//
// Of a custom volume a backup holds, in this order:
//
//	backup/index.yaml
//	backup/optimized_header.yaml         optimized: which subvolumes there are
//	backup/volume-snapshots/SNAP/...     the files of a snapshot, the oldest first
//	backup/volume-snapshots/SNAP.bin     optimized: what changed since the one before
//	backup/volume-snapshots/SNAP_PATH.bin  optimized: a subvolume that is nested in it, see EncodePath
//	backup/volume/..., backup/volume.bin the volume itself
//
// It knows nothing of pools and of tar.
package backup
