package squashfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"poolctl/images/internal/restore"
)

// Unpacker writes the tree of a squashfs below a directory.
type Unpacker struct {
	// TempDir is where a squashfs whose end cannot be read first is kept, in a file
	// without a name, gone with the process.
	TempDir string
	Limits  Limits
	// Base, when not nil, is the tree of an older version: files share with it what is
	// the same.
	Base *restore.Base
	// Pass, when not nil, is asked before content is written.
	Pass restore.Pass
	// Vouched says that r is held against a sha256 known before: then the check that
	// each xz block has of its own, a CRC32, is not made.
	Vouched bool
}

// Result says what was unpacked.
type Result struct {
	// Size is the length in bytes of the file system; the file may be padded.
	Size int64
	// DevicesLeftOut counts the device nodes that were not made (restore.SafeDevice).
	DevicesLeftOut int
}

// Unpack writes the tree of the squashfs r below the open directory dir, which
// exists and is empty; the file system's root becomes dir itself.
//
// The tables are at the end of a squashfs. They are read through at, which is the
// same file, before their turn; then r is read once, from its beginning to the
// end of the file system, and what comes in is decompressed in parallel and
// written at once. That the bytes of the tables were the same both times is
// verified. Where at is nil or fails, r is stored first (TempDir).
//
// Whether r is the right file its reader verifies, which may be at its end: on an
// error of that, as on any, the content of dir is undefined, and the caller is to
// remove it.
func (u *Unpacker) Unpack(ctx context.Context, r io.Reader, at io.ReaderAt, dir *os.File) (Result, error) {
	head := make([]byte, SuperSize)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return Result{}, err
	}
	super, err := ParseSuper(head[:n])
	if err != nil {
		return Result{}, err
	}
	if err := u.check(super); err != nil {
		return Result{}, err
	}
	tail := make([]byte, super.BytesUsed-super.InodeTable)
	if at == nil || !readTail(at, tail, int64(super.InodeTable)) {
		if err := ctx.Err(); err != nil {
			return Result{}, err
		}
		f, err := store(ctx, head, r, u.TempDir, super, u.Limits.WithDefaults().Bytes, u.Pass)
		if err != nil {
			return Result{}, err
		}
		defer func() { _ = f.Close() }() // its content is not kept
		if !readTail(f, tail, int64(super.InodeTable)) {
			return Result{}, errors.New("cannot read it back")
		}
		r = io.NewSectionReader(f, SuperSize, int64(super.BytesUsed)-SuperSize)
	}
	return u.unpack(ctx, super, tail, r, dir)
}

// readTail fills b from an offset of the file.
func readTail(at io.ReaderAt, b []byte, off int64) bool {
	n, err := at.ReadAt(b, off)
	return n == len(b) && (err == nil || errors.Is(err, io.EOF))
}

// check holds a superblock against the limits.
func (u *Unpacker) check(s Super) error {
	l := u.Limits.WithDefaults()
	switch {
	case int64(s.Inodes) > min(l.Entries, MaxInodes):
		return &LimitError{What: "inodes", Limit: min(l.Entries, MaxInodes)}
	case s.BytesUsed > uint64(l.Bytes):
		return &LimitError{What: "bytes", Limit: l.Bytes}
	case s.BytesUsed-s.InodeTable > maxTail:
		return &LimitError{What: "bytes in all tables", Limit: maxTail}
	}
	return nil
}

// unpack does the work; r is right behind the superblock.
func (u *Unpacker) unpack(ctx context.Context, super Super, tail []byte, r io.Reader, dir *os.File) (Result, error) {
	pos, err := readOptions(super, r)
	if err != nil {
		return Result{}, err
	}
	tables, err := readTables(super, tail)
	if err != nil {
		return Result{}, fmt.Errorf("the squashfs is damaged: %w", err)
	}
	sum := sha256.Sum256(tail)
	tree, err := tables.walk(ctx, u.Limits)
	if err != nil {
		return Result{}, fmt.Errorf("the squashfs is damaged: %w", err)
	}
	f := newFiles(dir, tree, u.Base)
	f.pass = u.Pass
	defer f.closeAll()
	// What is made would inherit them.
	if err := restore.DropACLs(int(dir.Fd())); err != nil {
		return Result{}, err
	}
	pos, left, err := tree.extract(ctx, r, pos, f, u.Vouched)
	if err != nil {
		return Result{}, err
	}
	if err := passTail(r, int64(super.InodeTable-pos), tail, sum); err != nil {
		return Result{}, err
	}
	err = tree.hardLinks(ctx, dir)
	if err == nil {
		err = tree.finishDirs(ctx, f)
	}
	return Result{Size: int64(super.BytesUsed), DevicesLeftOut: left}, err
}

// readOptions reads the compressor's options, a block of metadata that is never
// compressed. Only LZ4's matter for decompressing: their first field is the
// version of the format, of which there is one. It returns the offset behind.
func readOptions(s Super, r io.Reader) (uint64, error) {
	if s.Flags&hasOptions == 0 {
		if s.Compression == LZ4 {
			return 0, errors.New("the options of LZ4 are missing")
		}
		return SuperSize, nil
	}
	var b [2 + metadataBlock]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return 0, cutShort(err)
	}
	head := (&cursor{b: b[:]}).u16()
	n := int(head &^ plainMetadata)
	if head&plainMetadata == 0 || n == 0 || n > metadataBlock {
		return 0, errors.New("the options of the compressor are damaged")
	}
	if _, err := io.ReadFull(r, b[2:2+n]); err != nil {
		return 0, cutShort(err)
	}
	if version := (&cursor{b: b[2 : 2+n]}).u32(); s.Compression == LZ4 && version != 1 {
		return 0, fmt.Errorf("it is compressed by version %d of LZ4, which is not supported", version)
	}
	return SuperSize + 2 + uint64(n), nil
}

// passTail reads over what is left of the data and over the tables, which must be
// what was read of them before.
func passTail(r io.Reader, skip int64, buf []byte, want [sha256.Size]byte) error {
	if skip < 0 {
		return errors.New("the options of the compressor reach into the tables")
	}
	if _, err := io.CopyN(io.Discard, r, skip); err != nil {
		return cutShort(err)
	}
	if _, err := io.ReadFull(r, buf); err != nil {
		return cutShort(err)
	}
	if got := sha256.Sum256(buf); !bytes.Equal(got[:], want[:]) {
		return errors.New("it changed while it was read")
	}
	return nil
}
