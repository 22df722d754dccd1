package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

const (
	// Magic is how a qcow2 begins.
	Magic = "QFI\xfb"
	// HeaderSize is how many bytes of the beginning ParseHeader wants.
	HeaderSize = 112
	headerV2   = 72
	headerV3   = 104
)

// Compression types of clusters (version 3; version 2 has only deflate).
const (
	compressionDeflate = 0
	compressionZstd    = 1
)

// Incompatible features of version 3.
const (
	featureDirty       = 1 << 0 // the reference counts may be wrong: they are not needed here
	featureCorrupt     = 1 << 1
	featureDataFile    = 1 << 2
	featureCompression = 1 << 3 // the compression type is given
	featureSubclusters = 1 << 4
)

// Header is what is needed of the beginning of a qcow2.
type Header struct {
	Version     uint32
	ClusterBits uint32
	// Size is that of the disk, in bytes, a multiple of 512.
	Size        int64
	L1Size      uint32 // entries
	L1Offset    int64  // in the file
	Compression byte
}

// ParseHeader reads the first HeaderSize bytes of a qcow2, or all of a shorter
// one. It refuses what is damaged, and what would need more than the file itself:
// a backing file, an external data file, a key; and features that are unknown.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < 8 || string(b[:4]) != Magic {
		return Header{}, errors.New("it is no qcow2 disk image")
	}
	h := Header{Version: binary.BigEndian.Uint32(b[4:])}
	if h.Version != 2 && h.Version != 3 {
		return h, fmt.Errorf("version %d of qcow2 is not supported", h.Version)
	}
	if len(b) < headerV2 || h.Version == 3 && len(b) < headerV3 {
		return h, errors.New("it is cut short in its header")
	}
	if name := binary.BigEndian.Uint64(b[8:]); name != 0 || binary.BigEndian.Uint32(b[16:]) != 0 {
		return h, errors.New("it has a backing file, and no other file is ever read: qemu-img convert makes a whole image of both")
	}
	h.ClusterBits = binary.BigEndian.Uint32(b[20:])
	if h.ClusterBits < minClusterBits || h.ClusterBits > maxClusterBits {
		return h, fmt.Errorf("its clusters of 2^%d bytes are not possible", h.ClusterBits)
	}
	if method := binary.BigEndian.Uint32(b[32:]); method != 0 {
		return h, errors.New("it is encrypted")
	}
	size := binary.BigEndian.Uint64(b[24:])
	if size > 1<<62 {
		return h, fmt.Errorf("its size of %d bytes is not possible", size)
	}
	if size == 0 {
		return h, errors.New("its disk has no size")
	}
	h.Size = int64(size+511) &^ 511
	h.L1Size = binary.BigEndian.Uint32(b[36:])
	offset := binary.BigEndian.Uint64(b[40:])
	if offset > 1<<56 || offset&(1<<h.ClusterBits-1) != 0 {
		return h, fmt.Errorf("its first table cannot be at byte %d", offset)
	}
	h.L1Offset = int64(offset)
	if h.Version == 3 {
		if err := h.features(b); err != nil {
			return h, err
		}
	}
	return h, h.checkL1()
}

// features reads what version 3 adds.
func (h *Header) features(b []byte) error {
	features := binary.BigEndian.Uint64(b[72:])
	length := binary.BigEndian.Uint32(b[100:])
	switch {
	case length < headerV3 || length > 1<<h.ClusterBits:
		return fmt.Errorf("its header cannot have %d bytes", length)
	case features&featureCorrupt != 0:
		return errors.New("it is marked as damaged: qemu-img check -r all repairs it")
	case features&featureDataFile != 0:
		return errors.New("its data is in another file, and no other file is ever read")
	case features&featureSubclusters != 0:
		return errors.New("it has subclusters (extended_l2), which are not supported: qemu-img convert makes an image without")
	}
	if unknown := features &^ (featureDirty | featureCompression); unknown != 0 {
		return fmt.Errorf("it has the unknown feature %d", bits.TrailingZeros64(unknown))
	}
	if length > headerV3 && len(b) > headerV3 {
		h.Compression = b[headerV3]
	}
	if h.Compression > compressionZstd {
		return fmt.Errorf("its compression type %d is unknown", h.Compression)
	}
	if (h.Compression != compressionDeflate) != (features&featureCompression != 0) {
		return errors.New("its header contradicts itself about the compression")
	}
	return nil
}

// checkL1 holds the first table against the size of the disk.
func (h *Header) checkL1() error {
	need := h.tables()
	if need > maxL1 {
		return &LimitError{What: "second tables", Limit: maxL1}
	}
	if int64(h.L1Size) < need {
		return fmt.Errorf("its first table has %d entries for a disk that needs %d", h.L1Size, need)
	}
	if h.L1Offset == 0 {
		return errors.New("its first table is missing")
	}
	return nil
}

// cluster is the length of a cluster in bytes.
func (h *Header) cluster() int64 { return 1 << h.ClusterBits }

// perTable is how many clusters a second table stands for.
func (h *Header) perTable() int64 { return h.cluster() / 8 }

// tables is how many second tables the disk has.
func (h *Header) tables() int64 {
	span := h.cluster() * h.perTable()
	return (h.Size + span - 1) / span
}
