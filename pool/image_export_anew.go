package pool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
)

// report has the packing tell how far it is.
func (src *imageSource) report(progress func(Progress)) {
	if progress != nil {
		src.repack.Report = func(n int64) { progress(Progress{Name: "pack", Done: n}) }
	}
}

// packAnew packs the image as publish does.
func (src *imageSource) packAnew(ctx context.Context, create func(name string) (*os.File, error)) error {
	var how packing
	if src.repack.Disk == nil {
		if err := src.s.choosePacking(ctx, &how, src.repack.Root); err != nil {
			return err
		}
	}
	_, err := pack(ctx, src.repack, how, create)
	return err
}

// sumFiles is the fingerprint of written files.
func sumFiles(ctx context.Context, files []*hostFile) (string, error) {
	sum := sha256.New()
	for _, f := range files {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return "", err
		}
		if _, err := io.Copy(sum, contextReader{ctx, f}); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
