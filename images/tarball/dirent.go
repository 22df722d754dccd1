package tarball

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// dirent is the part of struct linux_dirent64 (getdents(2)) that is used here.
type dirent struct {
	name string
	kind byte
}

// nextDirent takes the first record off a buffer that getdents64 filled:
// u64 inode, s64 offset, u16 length, u8 type, name.
func nextDirent(b []byte) (dirent, []byte, error) {
	const head = 19
	if len(b) < head {
		return dirent{}, nil, unix.EIO
	}
	size := int(binary.NativeEndian.Uint16(b[16:]))
	if size < head || size > len(b) {
		return dirent{}, nil, unix.EIO
	}
	name := b[head:size]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	return dirent{string(name), b[18]}, b[size:], nil
}
