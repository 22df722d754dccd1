package restore

import (
	"bytes"
	"errors"

	"golang.org/x/sys/unix"
)

// block is the unit in which holes are looked for: the page and sector size of
// the file systems written to.
const block = 4096

// WriteSparse writes b at offset off without its blocks of zeros, and says
// whether it ends with such a hole.
func WriteSparse(fd int, b []byte, off int64) (hole bool, err error) {
	var zeros [block]byte
	for len(b) > 0 {
		skip := 0
		for skip < len(b) {
			n := min(block, len(b)-skip)
			if n < block && skip == 0 { // a short tail is not worth a hole
				break
			}
			if !bytes.Equal(b[skip:skip+n], zeros[:n]) {
				break
			}
			skip += n
		}
		b, off = b[skip:], off+int64(skip)
		if len(b) == 0 {
			return true, nil
		}
		data := min(block, len(b))
		for data < len(b) && !bytes.Equal(b[data:min(data+block, len(b))], zeros[:min(block, len(b)-data)]) {
			data = min(data+block, len(b))
		}
		for data > 0 {
			n, err := unix.Pwrite(fd, b[:data], off)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return false, err
			}
			b, off, data = b[n:], off+int64(n), data-n
		}
	}
	return false, nil
}
