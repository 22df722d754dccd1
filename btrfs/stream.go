package btrfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

// The form of a send stream (fs/btrfs/send.h, btrfs-dev-docs "Send stream"): a
// head, and commands of a header and attributes.
const (
	streamMagic  = "btrfs-stream\x00"
	streamHead   = len(streamMagic) + 4 // and the version
	commandHead  = 10                   // length, number and CRC32C
	attrHead     = 4                    // type and length
	maxRewritten = 64 << 10             // BTRFS_SEND_BUF_SIZE_V1

	cmdSnapshot   = 2
	cmdClone      = 16
	attrUUID      = 1
	attrCloneUUID = 20
)

// ErrNoParent says that a stream is of what differs from a subvolume that is not
// there.
var ErrNoParent = errors.New("the subvolume that the stream builds on is missing")

var castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

// streamReader reads a send stream for btrfs-receive(8). It replaces the UUIDs of
// the parent in it, so that the one is found that is to be taken: of several
// subvolumes with one received UUID it takes any. And it keeps set-id bits, see
// setIDKeeper.
type streamReader struct {
	r       *bufio.Reader
	parents map[string]string
	// setIDs reads those of the parent with that UUID.
	setIDs func(parent string) (*setIDs, error)
	keeper setIDKeeper
	own    []byte // the UUID of the subvolume itself
	begun  bool
	out    []byte // to be read first
	rest   int64  // of the command, after out
	err    error  // what ended it, if not its end
}

func newStreamReader(r io.Reader, parents map[string]string, setIDs func(parent string) (*setIDs, error)) *streamReader {
	return &streamReader{r: bufio.NewReaderSize(r, 64<<10), parents: parents, setIDs: setIDs}
}

func (s *streamReader) Read(p []byte) (int, error) {
	n, err := s.read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

func (s *streamReader) read(p []byte) (int, error) {
	for len(s.out) == 0 && s.rest == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	if len(s.out) > 0 {
		n := copy(p, s.out)
		s.out = s.out[n:]
		return n, nil
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.rest)])
	s.rest -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next reads the head of the stream or of the next command, and the whole of a
// command that has a parent in it, or says where files are and whose.
func (s *streamReader) next() error {
	if !s.begun {
		head := make([]byte, streamHead)
		if _, err := io.ReadFull(s.r, head); err != nil || !bytes.HasPrefix(head, []byte(streamMagic)) {
			return notStream(err)
		}
		s.begun, s.out = true, head
		return nil
	}
	head := make([]byte, commandHead, commandHead+512)
	if _, err := io.ReadFull(s.r, head); err != nil {
		return err // io.EOF where a command could begin
	}
	size, number := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint16(head[4:])
	var err error
	switch number {
	case cmdSnapshot, cmdClone, cmdRename, cmdLink, cmdUnlink, cmdChmod, cmdChown:
		s.out, err = s.command(number, head, size)
	default:
		s.out, err = s.keeper.restore(number, "")
		s.out, s.rest = append(s.out, head...), int64(size)
	}
	return err
}

// command reads the rest of a command, and returns what is to be read in its place.
func (s *streamReader) command(number uint16, head []byte, size uint32) ([]byte, error) {
	if size > maxRewritten {
		return nil, fmt.Errorf("it is damaged: a command of %d bytes", size)
	}
	command := append(head, make([]byte, size)...)
	if _, err := io.ReadFull(s.r, command[commandHead:]); errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	} else if err != nil {
		return nil, err
	}
	if crc := binary.LittleEndian.Uint32(command[6:]); crc != commandCRC(command) {
		return nil, errors.New("it is damaged: the checksum of a command is wrong")
	}
	if number == cmdSnapshot || number == cmdClone {
		before, err := s.keeper.restore(number, "")
		if err == nil {
			err = s.rewrite(number, command[commandHead:])
		}
		binary.LittleEndian.PutUint32(command[6:], commandCRC(command))
		return append(before, command...), err
	}
	var path, to string
	err := attributes(command[commandHead:], func(kind uint16, value []byte) error {
		switch kind {
		case attrPath:
			path = string(value)
		case attrPathTo, attrPathLink:
			to = string(value)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	before, err := s.keeper.restore(number, path)
	if err == nil {
		err = s.keeper.see(number, path, to)
	}
	return append(before, command...), err
}

// attributes calls fn with each attribute of a command.
func attributes(attrs []byte, fn func(kind uint16, value []byte) error) error {
	for len(attrs) > 0 {
		if len(attrs) < attrHead {
			return errors.New("it is damaged: an attribute is cut off")
		}
		kind, size := binary.LittleEndian.Uint16(attrs), int(binary.LittleEndian.Uint16(attrs[2:]))
		if len(attrs) < attrHead+size {
			return errors.New("it is damaged: an attribute is cut off")
		}
		if err := fn(kind, attrs[attrHead:attrHead+size]); err != nil {
			return err
		}
		attrs = attrs[attrHead+size:]
	}
	return nil
}

// notStream says what is wrong with a head that was read with err.
func notStream(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it is no btrfs send stream")
	}
	return err
}

// commandCRC is the CRC32C of a command, taken with its own as 0 and, unlike
// package crc32, without inverting.
func commandCRC(command []byte) uint32 {
	crc := crc32.Update(^uint32(0), castagnoli(), command[:6])
	crc = crc32.Update(crc, castagnoli(), make([]byte, 4))
	return ^crc32.Update(crc, castagnoli(), command[commandHead:])
}

// rewrite replaces the parent's UUID among the attributes of a command.
func (s *streamReader) rewrite(number uint16, attrs []byte) error {
	return attributes(attrs, func(kind uint16, value []byte) error {
		if len(value) != 16 {
			return nil
		}
		if kind == attrUUID && number == cmdSnapshot {
			s.own = bytes.Clone(value)
		}
		if kind != attrCloneUUID || bytes.Equal(value, s.own) {
			return nil
		}
		uuid := formatUUID([16]byte(value))
		there, ok := s.parents[uuid]
		if !ok {
			return fmt.Errorf("%w (UUID %s)", ErrNoParent, uuid)
		}
		if number == cmdSnapshot {
			s.keeper.read = func() (*setIDs, error) { return s.setIDs(there) }
		}
		raw, err := parseUUID(there)
		if err != nil {
			return err
		}
		copy(value, raw[:])
		return nil
	})
}
