package compress

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// HeadSize is how many bytes of a file's beginning Detect wants to see; fewer
// are accepted when the file is shorter.
const HeadSize = 512

// Format is a file format by its usual name.
type Format string

// Formats that an image part can have.
const (
	Tar      Format = "tar"
	Gzip     Format = "gzip"
	XZ       Format = "xz"
	Zstd     Format = "zstd"
	Bzip2    Format = "bzip2"
	LZ4      Format = "lz4"
	LZMA     Format = "lzma"
	Squashfs Format = "squashfs"
	QCOW2    Format = "qcow2" // the disk of a virtual machine
	RawDisk  Format = "raw disk image"
)

// Unknown is returned for bytes of no known format.
const Unknown Format = ""

// UnsupportedError says that a file is in a format (or in none) that cannot be
// unpacked.
type UnsupportedError struct{ Format Format }

func (e *UnsupportedError) Error() string {
	switch e.Format {
	case Unknown:
		return "unknown file format: neither a tar archive (plain, gzip, xz, zstd, bzip2, lz4, lzma) nor a squashfs"
	case QCOW2:
		return fmt.Sprintf("the file is a %s: an image of a virtual machine, not of a container", e.Format)
	case RawDisk:
		return "the file is a raw disk image, and the disk of a virtual machine's image has to be a qcow2"
	default:
		return fmt.Sprintf("the file format %s is not supported", e.Format)
	}
}

// magic is one entry of the table that Detect looks through, in order.
type magic struct {
	offset int
	bytes  string
	format Format
}

// Extension is what the names of such files end in, as LXD and Incus have it:
// that of an archive for what compresses archives (shared/archive detection
// table).
func (f Format) Extension() string {
	switch f {
	case Tar:
		return ".tar"
	case Gzip:
		return ".tar.gz"
	case XZ:
		return ".tar.xz"
	case Zstd:
		return ".tar.zst"
	case Bzip2:
		return ".tar.bz2"
	case LZ4:
		return ".tar.lz4"
	case LZMA:
		return ".tar.lzma"
	case Squashfs:
		return ".squashfs"
	case QCOW2:
		return ".qcow2"
	}
	return ""
}

// Sources: file(1)'s magic database; RFC 1952 (gzip); xz-file-format.txt;
// RFC 8878 (zstd frames and skippable frames); squashfs_fs.h of squashfs-tools.
func magics() []magic {
	return []magic{
		{0, "\x1f\x8b\x08", Gzip},
		{0, "\xfd7zXZ\x00", XZ},
		{0, "\x28\xb5\x2f\xfd", Zstd},
		{0, "BZh", Bzip2},
		{0, "hsqs", Squashfs},
		{0, "sqsh", Squashfs}, // big endian: package squashfs refuses it by name
		{0, "sqlz", Squashfs}, // old lzma variants, refused there too
		{0, "qlzs", Squashfs},
		{0, "shsq", Squashfs},
		{0, "qshs", Squashfs},
		{257, "ustar", Tar},
		{0, "QFI\xfb", QCOW2},
		{510, "\x55\xaa", RawDisk},
		{0, "PK\x03\x04", "zip"},
		{0, "7z\xbc\xaf\x27\x1c", "7z"},
		{0, "LZIP", "lzip"},
		{0, "\x04\x22\x4d\x18", LZ4},
		{0, "\x02\x21\x4c\x18", LZ4}, // its older format, as of lz4 -l
		{0, "\x89LZO\x00\r\n\x1a\n", "lzop"},
		{0, "\x1f\x9d", "compress (.Z)"},
		{0, "\x5d\x00\x00", LZMA},
	}
}

// Detect names the format of a file by the first bytes of it (HeadSize of them,
// or the whole file when it is shorter). A tar archive without the ustar magic
// (V7) is known by its header checksum.
func Detect(head []byte) Format {
	for _, m := range magics() {
		if len(head) >= m.offset+len(m.bytes) && string(head[m.offset:m.offset+len(m.bytes)]) == m.bytes {
			return m.format
		}
	}
	// Skippable frames may come before the first zstd frame (RFC 8878, 3.1.2).
	if len(head) >= 4 && binary.LittleEndian.Uint32(head)&0xfffffff0 == 0x184d2a50 {
		return Zstd
	}
	if isTarHeader(head) {
		return Tar
	}
	return Unknown
}

// KnownToLXD says whether LXD and Incus know by the first bytes of a file how to unpack it (DetectCompressionFile in their
// shared/archive.go): all that Detect knows but lz4, archives without the ustar magic, and zstd after skippable frames.
func KnownToLXD(head []byte) bool {
	switch f := Detect(head); f {
	case Gzip, XZ, Bzip2, LZMA, QCOW2:
		return true
	case Zstd:
		return bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd"))
	case Squashfs:
		return bytes.HasPrefix(head, []byte("hsqs"))
	case Tar:
		return len(head) > 262 && string(head[257:262]) == "ustar"
	default:
		return false
	}
}

// isTarHeader says whether b starts with a tar header block whose checksum is
// right (or with the zero blocks of an empty archive). POSIX.1-1988 pax, "ustar
// Interchange Format": the sum of all bytes, the checksum field as spaces; some
// old writers summed signed bytes.
func isTarHeader(b []byte) bool {
	if len(b) < 512 {
		return false
	}
	b = b[:512]
	if bytes.Count(b, []byte{0}) == 512 {
		return true
	}
	var want int64
	field := strings.Trim(string(b[148:156]), " \x00")
	if field == "" {
		return false
	}
	for _, c := range field {
		if c < '0' || c > '7' {
			return false
		}
		want = want<<3 | int64(c-'0')
	}
	var unsigned, signed int64
	for i, c := range b {
		if i >= 148 && i < 156 {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c)) // the reinterpretation is the point
	}
	return want == unsigned || want == signed
}
