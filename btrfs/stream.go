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

// parentReader reads a send stream and replaces the UUIDs of the parent in it, so
// that btrfs-receive(8) finds the one that it is to take: of several subvolumes
// with one received UUID it takes any.
type parentReader struct {
	r       *bufio.Reader
	parents map[string]string
	own     []byte // the UUID of the subvolume itself
	begun   bool
	out     []byte // to be read first
	rest    int64  // of the command, after out
	err     error  // what ended it, if not its end
}

func newParentReader(r io.Reader, parents map[string]string) *parentReader {
	return &parentReader{r: bufio.NewReaderSize(r, 64<<10), parents: parents}
}

func (s *parentReader) Read(p []byte) (int, error) {
	n, err := s.read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

func (s *parentReader) read(p []byte) (int, error) {
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
// command that has a parent in it.
func (s *parentReader) next() error {
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
	if number != cmdSnapshot && number != cmdClone {
		s.out, s.rest = head, int64(size)
		return nil
	}
	if size > maxRewritten {
		return fmt.Errorf("it is damaged: a command of %d bytes", size)
	}
	command := append(head, make([]byte, size)...)
	if _, err := io.ReadFull(s.r, command[commandHead:]); errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	} else if err != nil {
		return err
	}
	if crc := binary.LittleEndian.Uint32(command[6:]); crc != commandCRC(command) {
		return errors.New("it is damaged: the checksum of a command is wrong")
	}
	if err := s.rewrite(number, command[commandHead:]); err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(command[6:], commandCRC(command))
	s.out = command
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
func (s *parentReader) rewrite(number uint16, attrs []byte) error {
	for len(attrs) > 0 {
		if len(attrs) < attrHead {
			return errors.New("it is damaged: an attribute is cut off")
		}
		kind, size := binary.LittleEndian.Uint16(attrs), int(binary.LittleEndian.Uint16(attrs[2:]))
		if len(attrs) < attrHead+size {
			return errors.New("it is damaged: an attribute is cut off")
		}
		value := attrs[attrHead : attrHead+size]
		attrs = attrs[attrHead+size:]
		if size != 16 {
			continue
		}
		if kind == attrUUID && number == cmdSnapshot {
			s.own = bytes.Clone(value)
		}
		if kind != attrCloneUUID || bytes.Equal(value, s.own) {
			continue
		}
		uuid := formatUUID([16]byte(value))
		there, ok := s.parents[uuid]
		if !ok {
			return fmt.Errorf("%w (UUID %s)", ErrNoParent, uuid)
		}
		raw, err := parseUUID(there)
		if err != nil {
			return err
		}
		copy(value, raw[:])
	}
	return nil
}
