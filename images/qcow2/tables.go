package qcow2

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Bits of table entries.
const (
	entryOffset     = 1<<56 - 1<<9 // of a cluster or a second table
	entryCompressed = 1 << 62
	entryZero       = 1 << 0 // version 3
)

// piece is what lies at one place of the file: clusters of the disk in a row, one
// compressed cluster, or a table.
type piece struct {
	at    int64 // in the file
	disk  int64 // in the disk; of a table its place in layout.sums, from the end: -1, -2, ...
	size  uint32
	units uint32 // clusters of a run, 1 for a compressed one, 0 for a table
}

// compressed pieces have a size in bytes, runs one in clusters.
func (p *piece) compressed() bool { return p.units == 1 && p.size != 0 }
func (p *piece) table() bool      { return p.disk < 0 }

// layout says what is where in a file, sorted by that.
type layout struct {
	h      Header
	pieces []piece
	// sums are the SHA-256 of the tables, which come again in the stream.
	sums [][sha256.Size]byte
}

// errManyTables says that there are more tables than are worth a request each.
var errManyTables = errors.New("there are many tables")

// readLayout reads the tables through at. More than most second tables are
// errManyTables; 0 is no limit.
func readLayout(ctx context.Context, h Header, at io.ReaderAt, most int) (*layout, error) {
	l := &layout{h: h}
	l1 := make([]byte, 8*h.tables())
	if end := int64(h.L1Size) * 8; end > int64(len(l1)) { // it may be longer than the disk needs
		if err := checkInside(at, h.L1Offset+end-8); err != nil {
			return nil, err
		}
	}
	if err := l.table(at, l1, h.L1Offset); err != nil {
		return nil, err
	}
	used := 0
	for i := range h.tables() {
		if binary.BigEndian.Uint64(l1[8*i:])&entryOffset != 0 {
			used++
		}
	}
	if most > 0 && used > most {
		return nil, errManyTables
	}
	l2 := make([]byte, h.cluster())
	for i := range h.tables() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		offset := int64(binary.BigEndian.Uint64(l1[8*i:]) & entryOffset)
		if offset == 0 {
			continue
		}
		if offset&(h.cluster()-1) != 0 {
			return nil, fmt.Errorf("its second table %d cannot be at byte %d", i, offset)
		}
		if err := l.table(at, l2, offset); err != nil {
			return nil, err
		}
		if err := l.clusters(l2, i*h.perTable()); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(l.pieces, func(a, b piece) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	return l, l.checkOrder()
}

// checkInside refuses a first table of which the last entry, at off, is not in the file.
func checkInside(at io.ReaderAt, off int64) error {
	var entry [8]byte
	n, err := at.ReadAt(entry[:], off)
	if n < len(entry) && (err == nil || errors.Is(err, io.EOF)) {
		return errors.New("its first table lies outside of the file")
	}
	if n == len(entry) {
		return nil
	}
	return err
}

// table reads a table and remembers what it was.
func (l *layout) table(at io.ReaderAt, b []byte, offset int64) error {
	n, err := at.ReadAt(b, offset)
	if n < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			err = errors.New("it is cut short in its tables")
		}
		return err
	}
	if len(b) > 0 {
		l.sums = append(l.sums, sha256.Sum256(b))
		l.pieces = append(l.pieces, piece{at: offset, disk: -int64(len(l.sums)), size: uint32(len(b))})
	}
	return l.checkCount()
}

func (l *layout) checkCount() error {
	if len(l.pieces) > maxPieces {
		return &LimitError{What: "pieces", Limit: maxPieces}
	}
	return nil
}

// clusters takes in a second table, whose first entry is that of the disk's
// cluster first. What is not allocated, or said to be zero, reads as zeros.
func (l *layout) clusters(l2 []byte, first int64) error {
	cluster := l.h.cluster()
	var run *piece
	for i := range l.h.perTable() {
		disk := (first + i) * cluster
		if disk >= l.h.Size {
			return nil
		}
		entry := binary.BigEndian.Uint64(l2[8*i:])
		p := piece{disk: disk, units: 1}
		switch {
		case entry&entryCompressed != 0:
			p.at, p.size = l.compressedAt(entry)
		case l.h.Version == 3 && entry&entryZero != 0:
			continue
		default:
			p.at = int64(entry & entryOffset)
		}
		if p.at == 0 && p.size == 0 {
			continue
		}
		if p.size == 0 {
			if p.at&(cluster-1) != 0 {
				return fmt.Errorf("the disk's cluster at byte %d cannot be at byte %d of the file", disk, p.at)
			}
			if run != nil && run.at+int64(run.units)*cluster == p.at && run.disk+int64(run.units)*cluster == disk {
				run.units++
				continue
			}
		}
		l.pieces = append(l.pieces, p)
		if err := l.checkCount(); err != nil {
			return err
		}
		run = nil
		if p.size == 0 {
			run = &l.pieces[len(l.pieces)-1]
		}
	}
	return nil
}

// compressedAt splits the entry of a compressed cluster: where it begins, to the
// byte, and how many bytes it has at most (to the end of a sector).
func (l *layout) compressedAt(entry uint64) (at int64, size uint32) {
	x := 62 - (l.h.ClusterBits - 8)
	at = int64(entry & (1<<x - 1))
	sectors := entry & (entryCompressed - 1) >> x
	return at, uint32((sectors+1)*512) - uint32(at&511)
}

// checkOrder refuses pieces that are in each other's place: each byte of the file
// counts once, so that a small file cannot become a large disk. Compressed
// clusters begin where the one before ended, and their ends are only known to the
// sector.
func (l *layout) checkOrder() error {
	end := l.h.cluster() // the header has the first one
	for i := range l.pieces {
		p := &l.pieces[i]
		if p.at < end {
			return fmt.Errorf("what is at byte %d of the file has two meanings", p.at)
		}
		if end = p.at + 1; !p.compressed() {
			end = p.at + l.length(p)
		}
	}
	return nil
}

// length is how many bytes of the file a piece takes.
func (l *layout) length(p *piece) int64 {
	if p.table() || p.compressed() {
		return int64(p.size)
	}
	return int64(p.units) * l.h.cluster()
}

// sameTable says whether a table is the one that was read before.
func (l *layout) sameTable(p *piece, b []byte) bool {
	sum := sha256.Sum256(b)
	return bytes.Equal(sum[:], l.sums[-p.disk-1][:])
}
