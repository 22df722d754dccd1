package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// QgroupID is the number of a qgroup: the level in the upper 16 bits. Of level
// 0 it is the id of the subvolume.
type QgroupID uint64

const qgroupLevelShift = 48 // BTRFS_QGROUP_LEVEL_SHIFT

// MakeQgroupID is the qgroup LEVEL/ID.
func MakeQgroupID(level uint16, id uint64) QgroupID {
	return QgroupID(uint64(level)<<qgroupLevelShift | id&(1<<qgroupLevelShift-1))
}

// Level is 0 for the qgroup of a subvolume.
func (q QgroupID) Level() uint16 { return uint16(q >> qgroupLevelShift) }

// Number is the part below the level: of level 0, the subvolume's id.
func (q QgroupID) Number() uint64 { return uint64(q) & (1<<qgroupLevelShift - 1) }

// String is LEVEL/ID, as btrfs-qgroup(8) has it.
func (q QgroupID) String() string {
	return strconv.FormatUint(uint64(q.Level()), 10) + "/" + strconv.FormatUint(q.Number(), 10)
}

// ParseQgroupID reads LEVEL/ID.
func ParseQgroupID(s string) (QgroupID, error) {
	l, n, ok := strings.Cut(s, "/")
	level, err := strconv.ParseUint(l, 10, 16)
	number, nerr := strconv.ParseUint(n, 10, qgroupLevelShift)
	if err := errors.Join(err, nerr); !ok || err != nil {
		return 0, fmt.Errorf("cannot read qgroup %q: not LEVEL/ID", s)
	}
	return MakeQgroupID(uint16(level), number), nil
}

// Qgroup is what is counted for one qgroup, in bytes, as of the last commit
// (Sync makes one).
type Qgroup struct {
	ID QgroupID
	// With full qgroups: what the subvolumes in it reference, and what only
	// they do. With simple quotas both are what was written in them.
	Referenced, Exclusive uint64
	// Limits of the two; NoLimit when there is none.
	MaxReferenced, MaxExclusive uint64
	// Parents are the qgroups of higher levels that it is in, Children those in
	// it, both by ascending id.
	Parents, Children []QgroupID
}

// NoLimit is the limit of a qgroup that has none.
const NoLimit = math.MaxUint64

// Of the quota tree (include/uapi/linux/btrfs_tree.h).
const (
	quotaTreeID       = 8
	qgroupStatusKey   = 240
	qgroupInfoKey     = 242
	qgroupLimitKey    = 244
	qgroupRelationKey = 246

	limitMaxReferenced = 1 << 0 // BTRFS_QGROUP_LIMIT_MAX_RFER
	limitMaxExclusive  = 1 << 1 // BTRFS_QGROUP_LIMIT_MAX_EXCL
)

// Qgroups reads all qgroups of the file system that path is on. It is empty
// where quotas are off.
func Qgroups(path string) (map[QgroupID]Qgroup, error) {
	f, err := openDir(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the qgroups of %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	groups, err := qgroups(f)
	if err != nil {
		return nil, fmt.Errorf("cannot read the qgroups of %s: %w", path, err)
	}
	return groups, nil
}

func qgroups(f *os.File) (map[QgroupID]Qgroup, error) {
	out := map[QgroupID]Qgroup{}
	st, err := quotaStatus(f)
	if err != nil || st.Mode == QuotaNone {
		return out, err
	}
	type relation struct{ child, parent QgroupID }
	var relations []relation
	to := Key{math.MaxUint64, math.MaxUint8, math.MaxUint64}
	err = scan(f, quotaTreeID, Key{}, to, func(k Key, data []byte) error {
		switch k.Type {
		case qgroupInfoKey:
			g, err := parseQgroupInfo(data)
			g.ID = QgroupID(k.Offset)
			out[g.ID] = g
			return err
		case qgroupLimitKey: // they come after all of qgroupInfoKey
			g, ok := out[QgroupID(k.Offset)]
			if !ok {
				return nil
			}
			err := g.parseLimit(data)
			out[g.ID] = g
			return err
		case qgroupRelationKey: // each is there in both directions
			if child, parent := QgroupID(k.ObjectID), QgroupID(k.Offset); child.Level() < parent.Level() {
				relations = append(relations, relation{child, parent})
			}
		}
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		err = nil // disabled meanwhile
	}
	for _, r := range relations { // sorted by child, then by parent
		child, parent := out[r.child], out[r.parent]
		if child.ID != r.child || parent.ID != r.parent {
			continue // destroyed meanwhile
		}
		child.Parents = append(child.Parents, r.parent)
		out[r.child] = child
		parent.Children = append(parent.Children, r.child)
		out[r.parent] = parent
	}
	return out, err
}

// parseQgroupInfo reads struct btrfs_qgroup_info_item.
func parseQgroupInfo(data []byte) (Qgroup, error) {
	const size = 40
	if len(data) < size {
		return Qgroup{}, fmt.Errorf("cannot parse a qgroup of %d bytes", len(data))
	}
	return Qgroup{
		Referenced: binary.LittleEndian.Uint64(data[8:]), Exclusive: binary.LittleEndian.Uint64(data[24:]),
		MaxReferenced: NoLimit, MaxExclusive: NoLimit,
	}, nil
}

// parseLimit reads struct btrfs_qgroup_limit_item.
func (g *Qgroup) parseLimit(data []byte) error {
	const size = 40
	if len(data) < size {
		return fmt.Errorf("cannot parse a qgroup's limit of %d bytes", len(data))
	}
	flags := binary.LittleEndian.Uint64(data)
	if flags&limitMaxReferenced != 0 {
		g.MaxReferenced = binary.LittleEndian.Uint64(data[8:])
	}
	if flags&limitMaxExclusive != 0 {
		g.MaxExclusive = binary.LittleEndian.Uint64(data[16:])
	}
	return nil
}

// CreateQgroup makes a qgroup of level 1 or higher in the file system that path
// is on; those of level 0 come with their subvolumes. One that exists is
// fs.ErrExist, and quotas that are off unix.ENOTCONN.
func CreateQgroup(path string, id QgroupID) error {
	return changeQgroup(path, "create qgroup "+id.String(), "BTRFS_IOC_QGROUP_CREATE", iocQgroupCreate, &qgroupCreateArgs{Create: 1, ID: uint64(id)})
}

// DestroyQgroup removes a qgroup, out of those that it is in too. One that is
// not there is fs.ErrNotExist; one with others in it, with a subvolume that
// exists, or, with simple quotas, one that still counts something, unix.EBUSY.
func DestroyQgroup(path string, id QgroupID) error {
	return changeQgroup(path, "destroy qgroup "+id.String(), "BTRFS_IOC_QGROUP_CREATE", iocQgroupCreate, &qgroupCreateArgs{ID: uint64(id)})
}

// AssignQgroup puts one qgroup into another, which must be of a higher level. To
// be there already is fs.ErrExist. With full qgroups the numbers can become
// inconsistent by it (see Quota), and have to be counted anew.
func AssignQgroup(path string, child, parent QgroupID) error {
	return changeQgroup(path, "assign qgroup "+child.String()+" to "+parent.String(), "BTRFS_IOC_QGROUP_ASSIGN", iocQgroupAssign,
		&qgroupAssignArgs{Assign: 1, Src: uint64(child), Dst: uint64(parent)})
}

// UnassignQgroup takes one qgroup out of another. Not to be in there is
// fs.ErrNotExist.
func UnassignQgroup(path string, child, parent QgroupID) error {
	return changeQgroup(path, "remove qgroup "+child.String()+" from "+parent.String(), "BTRFS_IOC_QGROUP_ASSIGN", iocQgroupAssign,
		&qgroupAssignArgs{Src: uint64(child), Dst: uint64(parent)})
}

// LimitQgroup limits what a qgroup references (with simple quotas: what was
// written in it); NoLimit ends that. Writing beyond it is unix.EDQUOT. It may be
// below what there is already: then nothing more can be written.
func LimitQgroup(path string, id QgroupID, referenced uint64) error {
	return changeQgroup(path, "limit qgroup "+id.String(), "BTRFS_IOC_QGROUP_LIMIT", iocQgroupLimit,
		&qgroupLimitArgs{ID: uint64(id), Flags: limitMaxReferenced, MaxReferenced: referenced})
}

func changeQgroup[T any](path, what, name string, request uintptr, args *T) error {
	f, err := openDir(path)
	if err == nil {
		err = errors.Join(os.NewSyscallError(name, ioctl(int(f.Fd()), request, args)), f.Close())
	}
	if err != nil {
		return fmt.Errorf("cannot %s on %s: %w", what, path, err)
	}
	return nil
}
