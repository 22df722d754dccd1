package squashfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"poolctl/images/internal/restore"
)

// store keeps a squashfs, of which head has been read, in an anonymous file in
// dir. The file may be padded, up to limit bytes.
func store(ctx context.Context, head []byte, r io.Reader, dir string, s Super, limit int64, pass restore.Pass) (*os.File, error) {
	f, err := restore.Store(ctx, head, r, dir, limit, pass)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && uint64(st.Size()) < s.BytesUsed {
		err = fmt.Errorf("it is cut short: %d of %d bytes", st.Size(), s.BytesUsed)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
