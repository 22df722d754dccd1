package tarball

import (
	"io/fs"
	"syscall"
)

// blocks is how many bytes a file takes on disk.
func blocks(st fs.FileInfo) int64 { return st.Sys().(*syscall.Stat_t).Blocks * 512 }
