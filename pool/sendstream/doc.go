// Package sendstream is the file that `poolctl send` writes and `poolctl receive` reads: btrfs send streams of an instance and its
// snapshots, with a header that says what they are, and checksums.
//
//	"poolctl-send-1\n"
//	4 bytes    the length of the header, big endian
//	header     JSON: Header
//	32 bytes   SHA-256 of all of the above
//	body       compressed as the header says: frames
//
// A frame is its kind, one byte; the length of its content, 4 bytes, big endian; the content; and a CRC32C of the three, 4 bytes,
// big endian. The kinds are
//
//	d   data of a send stream, at most 256 KiB
//	e   the end of the stream of one subvolume; no content
//	z   the end of everything: the SHA-256 of the header's checksum and of all data
//
// The streams are in the order of the header's versions and, in a version, of its subvolumes. Nothing follows the last frame.
//
// Every frame is verified before its data is passed on, and the whole by Reader.End: what was read counts only after that. The
// checksums find damage; they are no signature.
package sendstream
