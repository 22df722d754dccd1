package tarball

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Tags of the binary form, linux/posix_acl_xattr.h and linux/posix_acl.h.
const (
	aclVersion   = 2
	aclUserObj   = 0x01
	aclUser      = 0x02
	aclGroupObj  = 0x04
	aclGroup     = 0x08
	aclMask      = 0x10
	aclOther     = 0x20
	aclUndefined = 0xffffffff
	aclMax       = 4096 // entries
)

type aclEntry struct {
	tag  uint16
	perm uint16
	id   uint32
}

// encodeACL turns an ACL's text (acl(5), entries separated by commas or newlines,
// optionally with a numeric fourth field as star writes it) into the value of the
// xattr system.posix_acl_*. Named entries without a number are left out: the
// names are the image's and mean nothing here, and leaving one out grants less,
// never more.
func encodeACL(text string) ([]byte, error) {
	var list []aclEntry
	for field := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		field, _, _ = strings.Cut(field, "#")
		if field = strings.TrimSpace(field); field == "" {
			continue
		}
		e, known, err := parseACLEntry(field)
		if err != nil {
			return nil, err
		}
		if known {
			list = append(list, e)
		}
		if len(list) > aclMax {
			return nil, &LimitError{What: "ACL entries", Limit: aclMax}
		}
	}
	if len(list) == 0 {
		return nil, errors.New("it is empty")
	}
	// The kernel wants the tags in order, and ids ascending within a tag.
	sort.SliceStable(list, func(i, j int) bool {
		if list[i].tag != list[j].tag {
			return list[i].tag < list[j].tag
		}
		return list[i].id < list[j].id
	})
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+8*len(list)), aclVersion)
	for _, e := range list {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b, nil
}

// parseACLEntry reads "user:ID:rwx", "group::r-x", "user:NAME:rw-:ID", "mask::r--", ...
func parseACLEntry(s string) (e aclEntry, known bool, err error) {
	f := strings.Split(s, ":")
	if len(f) == 2 { // "mask:rwx", "other:r-x"
		f = []string{f[0], "", f[1]}
	}
	if len(f) < 3 || len(f) > 4 {
		return e, false, fmt.Errorf("%q is no ACL entry", s)
	}
	named := f[1] != ""
	switch {
	case (f[0] == "user" || f[0] == "u") && named:
		e.tag = aclUser
	case f[0] == "user" || f[0] == "u":
		e.tag = aclUserObj
	case (f[0] == "group" || f[0] == "g") && named:
		e.tag = aclGroup
	case f[0] == "group" || f[0] == "g":
		e.tag = aclGroupObj
	case (f[0] == "mask" || f[0] == "m") && !named:
		e.tag = aclMask
	case (f[0] == "other" || f[0] == "o") && !named:
		e.tag = aclOther
	default:
		return e, false, fmt.Errorf("%q is no ACL entry", s)
	}
	for _, c := range f[2] {
		i := strings.IndexRune("xwr", c)
		if i < 0 && c != '-' {
			return e, false, fmt.Errorf("%q is no ACL entry", s)
		}
		if i >= 0 {
			e.perm |= 1 << i
		}
	}
	e.id = aclUndefined
	if !named {
		return e, true, nil
	}
	id := f[1]
	if len(f) == 4 {
		id = f[3]
	}
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil || n == aclUndefined {
		return e, false, nil //nolint:nilerr // a name without a number: left out, see encodeACL
	}
	e.id = uint32(n)
	return e, true, nil
}
