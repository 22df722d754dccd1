// Package tree owns the objects on disk of one mounted pool: images, instances, custom volumes and their snapshots.
//
// The layout is the one of LXD and Incus, so that a pool of theirs opens here and one of ours can be recovered there:
//
//	containers/NAME/                 an instance: a subvolume, mode 0100, with rootfs/, metadata.yaml, templates/ and
//	                                 backup.yaml, which is the instance's record
//	containers-snapshots/NAME/SNAP/  a snapshot: a read-only subvolume
//	images/FINGERPRINT/              an image: a read-only subvolume
//	custom/PROJECT_NAME/             a custom volume: a subvolume; the project is "default"
//	custom-snapshots/PROJECT_NAME/SNAP/  a snapshot of one: a read-only subvolume
//	.poolctl/volumes/PROJECT_NAME.json   what is known of a custom volume and its snapshots; LXD has that in its database
//	.poolctl/images/FINGERPRINT.json what is known of an image beyond its metadata.yaml
//	.poolctl/pool.json               what the pool says of itself, for when it is adopted elsewhere
//	.poolctl/reserve                 room for records in a pool that is full
//	.poolctl/staging/                a journal (package journal): what is being made or deleted
//
// Everything is built in a journal entry and committed by one step that btrfs makes atomic:
//
//	image commit      the image's record is renamed into place, after its volume
//	image delete      the volume is deleted (or, with subvolumes in it, renamed into the entry)
//	instance create,  the new volume is renamed into place; before it, the directory of the snapshots that it has (a copy)
//	volume create
//	instance delete,  the volume is deleted (or, with snapshots or subvolumes in it, renamed into the entry)
//	volume delete
//	volume rename     the volume is renamed, after its record and its snapshots
//	restore, refresh  old and new volume are exchanged (RENAME_EXCHANGE, rename(2)); of a refresh the snapshots follow
//	snapshot create   one ioctl (or, with subvolumes in it, a rename into place)
//	snapshot delete   one ioctl (or, with subvolumes in it, a rename into the entry)
//
// Recover finishes or undoes what a killed process left. btrfs keeps the order of these steps over a power cut, since each
// belongs to one transaction and transactions are committed in order; the data of files is synced before the step that
// makes it visible. An intent is made durable (journal.Begin or Entry.Update) only where what it says could not be
// guessed from the entry's content.
//
// Two facts of the kernel (measured on 6.18) shape this: a read-only subvolume cannot be renamed into another directory
// (EROFS), but it can be deleted; and a subvolume that holds others can be renamed, but not deleted (ENOTEMPTY).
//
// What a volume may take (SetLimit) is set in the entry, before the step that makes it visible, so that a kill leaves no
// volume without the limit that it is to have. The limit is not recorded here; the subvolume's qgroups are it.
//
// The caller keeps two writers off the same instance, image or custom volume; a reader needs no lock. The package knows nothing of
// running instances, of the state directory or of what is in a rootfs.
package tree
