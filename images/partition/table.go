package partition

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"
)

// sector is the unit of partition tables on the disks of images.
const sector = 512

// Limits on what a table may hold.
const (
	maxEntries   = 128 // of a GPT, as the specification has at least and everybody uses
	maxEntrySize = 4096
	maxLogical   = 100 // partitions in an extended one
)

// ErrNone says that a disk has no partition table.
var ErrNone = errors.New("there is no partition table on the disk")

// Partition is a part of a disk.
type Partition struct {
	Number      int   // as Linux counts: the 3 of vda3
	Start, Size int64 // bytes
	// Type is a GPT's type (lower-case UUID) or an MBR's ("0x83").
	Type string
	Name string // a GPT's, for people
}

// Read reads the partition table of a disk of size bytes. Partitions that reach
// beyond it are an error, and a GPT whose checksums are wrong, of which neither the
// first nor the second copy is good.
func Read(disk io.ReaderAt, size int64) ([]Partition, error) {
	mbr := make([]byte, sector)
	if size < 3*sector {
		return nil, ErrNone
	}
	if _, err := disk.ReadAt(mbr, 0); err != nil {
		return nil, fmt.Errorf("cannot read the partition table: %w", err)
	}
	if mbr[510] != 0x55 || mbr[511] != 0xaa {
		return nil, ErrNone
	}
	var parts []Partition
	var err error
	if isProtective(mbr) {
		parts, err = readGPT(disk, size, 1)
		if err != nil {
			var again error
			if parts, again = readGPT(disk, size, size/sector-1); again == nil {
				err = nil
			}
		}
	} else {
		parts, err = readMBR(disk, mbr)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the partition table: %w", err)
	}
	for _, p := range parts {
		if p.Start <= 0 || p.Size <= 0 || p.Start > size || p.Size > size-p.Start {
			return nil, fmt.Errorf("cannot read the partition table: partition %d is outside of the disk", p.Number)
		}
	}
	if len(parts) == 0 {
		return nil, ErrNone
	}
	return parts, nil
}

// isProtective says whether an MBR stands for a GPT.
func isProtective(mbr []byte) bool {
	for i := range 4 {
		if mbr[446+16*i+4] == 0xee {
			return true
		}
	}
	return false
}

// readGPT reads the copy whose header is in the given sector.
func readGPT(disk io.ReaderAt, size, at int64) ([]Partition, error) {
	h := make([]byte, sector)
	if _, err := disk.ReadAt(h, at*sector); err != nil {
		return nil, err
	}
	if string(h[:8]) != "EFI PART" {
		return nil, errors.New("there is no GPT where one should be")
	}
	length := binary.LittleEndian.Uint32(h[12:])
	if length < 92 || length > sector {
		return nil, fmt.Errorf("the GPT's header cannot have %d bytes", length)
	}
	sum := binary.LittleEndian.Uint32(h[16:])
	clear(h[16:20])
	if crc32.ChecksumIEEE(h[:length]) != sum {
		return nil, errors.New("the checksum of the GPT's header is wrong")
	}
	entries, each := binary.LittleEndian.Uint32(h[80:]), binary.LittleEndian.Uint32(h[84:])
	where := binary.LittleEndian.Uint64(h[72:])
	if entries > maxEntries || each < 128 || each > maxEntrySize || each%128 != 0 || where > uint64(size/sector) {
		return nil, fmt.Errorf("a GPT of %d entries of %d bytes is not supported", entries, each)
	}
	b := make([]byte, entries*each)
	if _, err := disk.ReadAt(b, int64(where)*sector); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(b) != binary.LittleEndian.Uint32(h[88:]) {
		return nil, errors.New("the checksum of the GPT's entries is wrong")
	}
	var parts []Partition
	for i := range int(entries) {
		e := b[i*int(each):][:128]
		if bytes.Count(e[:16], []byte{0}) == 16 {
			continue
		}
		first, last := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
		if first > last || last >= uint64(size/sector) {
			return nil, fmt.Errorf("partition %d is outside of the disk", i+1)
		}
		parts = append(parts, Partition{
			Number: i + 1, Start: int64(first) * sector, Size: int64(last-first+1) * sector, Type: guid(e[:16]), Name: name(e[56:128]),
		})
	}
	return parts, nil
}

// guid writes a GUID in its mixed byte order.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}

// name is UTF-16, with what could not be shown replaced.
func name(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	text, _, _ := strings.Cut(string(utf16.Decode(u)), "\x00")
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}

// isExtended says whether an MBR's type is that of a partition that holds others.
func isExtended(kind byte) bool { return kind == 0x05 || kind == 0x0f || kind == 0x85 }

// readMBR reads the primary partitions and the logical ones.
func readMBR(disk io.ReaderAt, mbr []byte) ([]Partition, error) {
	var parts []Partition
	for i := range 4 {
		kind, start, size := mbrEntry(mbr, i)
		if kind == 0 || size == 0 {
			continue
		}
		if !isExtended(kind) {
			parts = append(parts, Partition{Number: i + 1, Start: start, Size: size, Type: fmt.Sprintf("%#02x", kind)})
			continue
		}
		more, err := readLogical(disk, start)
		if err != nil {
			return nil, err
		}
		parts = append(parts, more...)
	}
	return parts, nil
}

// readLogical follows the chain of an extended partition, each link of which names
// a partition, relative to itself, and the next link, relative to the first.
func readLogical(disk io.ReaderAt, first int64) ([]Partition, error) {
	var parts []Partition
	b := make([]byte, sector)
	for at, links := first, 0; ; links++ {
		if links == maxLogical {
			return nil, fmt.Errorf("there are more than %d logical partitions", maxLogical)
		}
		if _, err := disk.ReadAt(b, at); err != nil {
			return nil, fmt.Errorf("the logical partitions are damaged: %w", err)
		}
		if b[510] != 0x55 || b[511] != 0xaa {
			return parts, nil
		}
		next := int64(0)
		for i := range 2 {
			kind, start, size := mbrEntry(b, i)
			switch {
			case kind == 0 || size == 0:
			case isExtended(kind):
				next = first + start
			default:
				parts = append(parts, Partition{Number: 5 + len(parts), Start: at + start, Size: size, Type: fmt.Sprintf("%#02x", kind)})
			}
		}
		if next == 0 {
			return parts, nil
		}
		at = next
	}
}

func mbrEntry(b []byte, i int) (kind byte, start, size int64) {
	e := b[446+16*i:]
	return e[4], int64(binary.LittleEndian.Uint32(e[8:])) * sector, int64(binary.LittleEndian.Uint32(e[12:])) * sector
}
