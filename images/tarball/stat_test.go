package tarball

import (
	"io/fs"
	"syscall"
)

// blocks is how many bytes a file takes on disk.
func blocks(st fs.FileInfo) int64 {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return -1
	}
	return s.Blocks * 512
}
