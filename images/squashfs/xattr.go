package squashfs

import (
	"errors"
	"fmt"

	"poolctl/images/internal/restore"
)

// xattrIDSize is the length of an entry of the table of attribute sets
// (struct squashfs_xattr_id).
const xattrIDSize = 16

// outOfLine is the flag of an attribute whose value lies elsewhere, shared with
// other files (SQUASHFS_XATTR_VALUE_OOL).
const outOfLine = 1 << 8

// xattrs are the tables of extended attributes; zero where there are none.
type xattrs struct {
	sets   []byte // one entry for each set of attributes
	values *table
}

// readXattrs reads both tables.
func (t *tail) readXattrs(at uint64) (x xattrs, err error) {
	if at-t.base > uint64(len(t.b)) || uint64(len(t.b))-(at-t.base) < 16 {
		return x, errors.New("the table of extended attributes is cut short")
	}
	c := &cursor{b: t.b[at-t.base:]}
	start, count := c.u64(), c.u32()
	if count == 0 {
		return x, nil
	}
	if count > MaxInodes {
		return x, &LimitError{What: "sets of extended attributes", Limit: MaxInodes}
	}
	sets, first, err := t.indexed("attribute sets", at+16, int(count)*xattrIDSize)
	if err != nil {
		return x, err
	}
	if start > first {
		return x, errors.New("the table of extended attributes begins behind its end")
	}
	values, err := t.table("extended attributes", start, first, maxXattrTable)
	return xattrs{sets: sets, values: values}, err
}

// list decodes the attributes of the set id; none for noXattr.
func (x *xattrs) list(id uint32) ([]restore.Xattr, error) {
	if id == noXattr {
		return nil, nil
	}
	if int64(id) >= int64(len(x.sets)/xattrIDSize) {
		return nil, fmt.Errorf("its set of extended attributes %d does not exist", id)
	}
	c := &cursor{b: x.sets[int(id)*xattrIDSize:]}
	ref, count := c.u64(), c.u32()
	if count > maxXattrs {
		return nil, &LimitError{What: "extended attributes of one file", Limit: maxXattrs}
	}
	at, err := x.values.ref(ref)
	if err != nil {
		return nil, err
	}
	c = &cursor{b: x.values.b[at:]}
	list := make([]restore.Xattr, 0, count)
	for range count {
		one, err := x.one(c)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

// one decodes an attribute: type, name, and value or where that is.
func (x *xattrs) one(c *cursor) (restore.Xattr, error) {
	kind := c.u16()
	name := c.take(int(c.u16()))
	value, err := xattrValue(c)
	if err != nil {
		return restore.Xattr{}, err
	}
	if kind&outOfLine != 0 {
		if len(value) != 8 {
			return restore.Xattr{}, errors.New("the place of an extended attribute is damaged")
		}
		at, err := x.values.ref((&cursor{b: value}).u64())
		if err != nil {
			return restore.Xattr{}, err
		}
		if value, err = xattrValue(&cursor{b: x.values.b[at:]}); err != nil {
			return restore.Xattr{}, err
		}
	}
	prefixes := [...]string{"user.", "trusted.", "security."}
	if kind &^= outOfLine; int(kind) >= len(prefixes) {
		return restore.Xattr{}, fmt.Errorf("an extended attribute is of the unknown kind %d", kind)
	}
	if len(name) == 0 || len(name) > 255 {
		return restore.Xattr{}, fmt.Errorf("the name of an extended attribute has %d bytes", len(name))
	}
	return restore.Xattr{Name: prefixes[kind] + string(name), Value: value}, nil
}

func xattrValue(c *cursor) ([]byte, error) {
	n := c.u32()
	if n > maxXattrValue {
		return nil, &LimitError{What: "bytes in an extended attribute", Limit: maxXattrValue}
	}
	b := c.take(int(n))
	if c.bad {
		return nil, errors.New("an extended attribute is cut short")
	}
	return b, nil
}
