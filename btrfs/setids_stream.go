package btrfs

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Commands and attributes of a send stream that say where files are and whose.
const (
	cmdRename = 9
	cmdLink   = 10
	cmdUnlink = 11
	cmdChmod  = 18
	cmdChown  = 19

	attrMode     = 5
	attrPath     = 15
	attrPathTo   = 16
	attrPathLink = 17

	// maxMoves is how many moves are kept before the parent is read.
	maxMoves = 4096
)

// move is a command that changes what is at a path.
type move struct {
	number   uint16
	path, to string
}

// setIDKeeper adds to a stream what keeps the set-id bits of files. A stream of what differs says of a file with another owner
// that it has it, and of its mode nothing when that is the same; but the kernel drops the bits of one that gets another owner.
// So the mode that the file has in the parent is set again.
//
// The parent is read when a stream has such a command, or many moves: most have neither.
type setIDKeeper struct {
	// read finds them in the parent; nil when there is none.
	read  func() (*setIDs, error)
	files *setIDs
	moves []move // since files was read, or the stream began
	// owned is the path of the file that the last command gave an owner, if asked.
	owned string
	asked bool
}

// restore is a command for before the one that comes, or nil.
func (k *setIDKeeper) restore(number uint16, path string) ([]byte, error) {
	if !k.asked {
		return nil, nil
	}
	if k.asked = false; number == cmdChmod && path == k.owned {
		return nil, nil
	}
	if err := k.follow(); err != nil {
		return nil, err
	}
	file := k.files.find(k.owned)
	if file == nil || file.mode == 0 {
		return nil, nil
	}
	return chmodCommand(k.owned, file.mode&0o7777), nil
}

// see takes note of a command.
func (k *setIDKeeper) see(number uint16, path, to string) error {
	if k.read == nil {
		return nil
	}
	if number == cmdChown {
		k.owned, k.asked = path, true
		return nil
	}
	k.moves = append(k.moves, move{number, path, to})
	if len(k.moves) < maxMoves {
		return nil
	}
	return k.follow()
}

// follow has files be where the stream has moved them.
func (k *setIDKeeper) follow() (err error) {
	if k.files == nil {
		if k.files, err = k.read(); err != nil {
			return err
		}
	}
	for _, m := range k.moves {
		switch m.number {
		case cmdRename:
			what := k.files.take(m.path)
			if k.files.take(m.to); what != nil {
				k.files.put(m.to, what)
			}
		case cmdLink:
			if what := k.files.find(m.to); what != nil && what.mode != 0 {
				k.files.put(m.path, what)
			}
		case cmdUnlink:
			k.files.take(m.path)
		case cmdChmod:
			if what := k.files.find(m.path); what != nil && what.mode != 0 {
				k.files.take(m.path)
			}
		}
	}
	k.moves = k.moves[:0]
	return nil
}

// chmodCommand is the command that gives the file at path a mode.
func chmodCommand(path string, mode uint32) []byte {
	c := make([]byte, commandHead, commandHead+2*attrHead+len(path)+8)
	c = binary.LittleEndian.AppendUint16(c, attrPath)
	c = binary.LittleEndian.AppendUint16(c, uint16(len(path))) //nolint:gosec // it came as such an attribute
	c = append(c, path...)
	c = binary.LittleEndian.AppendUint16(c, attrMode)
	c = binary.LittleEndian.AppendUint16(c, 8)
	c = binary.LittleEndian.AppendUint64(c, uint64(mode&^unix.S_IFMT))
	binary.LittleEndian.PutUint32(c, uint32(len(c)-commandHead)) //nolint:gosec // some KiB at most
	binary.LittleEndian.PutUint16(c[4:], cmdChmod)
	binary.LittleEndian.PutUint32(c[6:], commandCRC(c))
	return c
}
