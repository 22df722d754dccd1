package restore

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// TrailingError says that something other than padding follows the end of a file's
// content.
type TrailingError struct {
	At int64 // bytes behind the end, of the first one that is not zero
}

func (e *TrailingError) Error() string {
	return fmt.Sprintf("what follows its end is no padding (byte %d behind it)", e.At)
}

// ReadPadding reads what follows the end of a content to the end of r and counts it.
// That can only be zeros: tar pads to its blocks, mksquashfs to 4 KiB, and who
// copies images to partitions and back to their sizes. Anything else is a
// *TrailingError, if strict, and passed over if not.
func ReadPadding(ctx context.Context, r io.Reader, strict bool) (n int64, err error) {
	var zeros, buf [32 << 10]byte
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		c, err := r.Read(buf[:])
		if strict && !bytes.Equal(buf[:c], zeros[:c]) {
			return n, &TrailingError{At: n + int64(len(buf[:c])-len(bytes.TrimLeft(buf[:c], "\x00")))}
		}
		n += int64(c)
		if err == io.EOF { // io.Reader's own
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}
