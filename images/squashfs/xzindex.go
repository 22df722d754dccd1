package squashfs

import "encoding/binary"

// Lengths of the fixed parts of an .xz stream (xz-file-format.txt, 2.1).
const (
	xzHeaderSize = 12
	xzFooterSize = 12
)

// xzLength says how many bytes the .xz stream b decompresses to, by its index,
// and checks that b is one stream and nothing else. Whether the index tells the
// truth its decoder verifies.
func xzLength(b []byte) (uint64, error) {
	if len(b) < xzHeaderSize+xzFooterSize || string(b[:6]) != "\xfd7zXZ\x00" || string(b[len(b)-2:]) != "YZ" {
		return 0, errDamaged
	}
	foot := b[len(b)-xzFooterSize:]
	size := (uint64(binary.LittleEndian.Uint32(foot[4:])) + 1) * 4
	if size > uint64(len(b)-xzHeaderSize-xzFooterSize) {
		return 0, errDamaged
	}
	index := b[uint64(len(b)-xzFooterSize)-size : len(b)-xzFooterSize]
	if index[0] != 0 {
		return 0, errDamaged
	}
	records, n := binary.Uvarint(index[1:])
	if n <= 0 || records > size {
		return 0, errDamaged
	}
	index = index[1+n:]
	var stored, length uint64
	for range records {
		unpadded, n := binary.Uvarint(index)
		if n <= 0 {
			return 0, errDamaged
		}
		plain, m := binary.Uvarint(index[n:])
		if m <= 0 || unpadded > uint64(len(b)) || plain > 1<<32 {
			return 0, errDamaged
		}
		index = index[n+m:]
		stored += (unpadded + 3) &^ 3
		length += plain
	}
	if xzHeaderSize+stored+size+xzFooterSize != uint64(len(b)) {
		return 0, errDamaged
	}
	return length, nil
}
