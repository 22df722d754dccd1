package loopdev

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	losetup "github.com/freddierice/go-losetup/v2"
	"golang.org/x/sys/unix"
)

// Info describes an attached loop device, as the kernel reports it.
type Info struct {
	Number int    `json:"number" yaml:"number"`
	Path   string `json:"path" yaml:"path"` // "/dev/loop3"
	// BackingFile is the name of the file, for people: as it was when it was
	// attached, followed by " (deleted)" when it has lost that name since.
	BackingFile string `json:"backing_file" yaml:"backing_file"`
	// Dev and Inode identify the backing file: st_dev and st_ino of stat(2).
	Dev   uint64 `json:"dev" yaml:"dev"`
	Inode uint64 `json:"inode" yaml:"inode"`
	// Offset and SizeLimit are the part of the file that is shown, in bytes;
	// a SizeLimit of 0 is "to the end".
	Offset    uint64 `json:"offset" yaml:"offset"`
	SizeLimit uint64 `json:"size_limit" yaml:"size_limit"`
	Size      uint64 `json:"size" yaml:"size"` // of the device, in bytes
	Autoclear bool   `json:"autoclear" yaml:"autoclear"`
	DirectIO  bool   `json:"direct_io" yaml:"direct_io"`
	ReadOnly  bool   `json:"read_only" yaml:"read_only"`
	BlockSize uint32 `json:"block_size" yaml:"block_size"` // logical, in bytes
}

// readInfo describes the device that f has open. It returns ErrNotAttached for
// one without a backing file, which includes one that is being torn down.
//
// lo_device is encoded by the kernel's huge_encode_dev (drivers/block/loop.c,
// loop_get_status), which is how stat(2) encodes st_dev on 64-bit machines too,
// so the two compare as they are. go-losetup's GetInfo is not used: it drops
// the errno, and ENXIO has to be told from a failure.
func readInfo(number int, f *os.File) (Info, error) {
	fd := int(f.Fd())
	st, err := unix.IoctlLoopGetStatus64(fd)
	if errors.Is(err, unix.ENXIO) {
		return Info{}, fmt.Errorf("%s: %w", devicePath(number), ErrNotAttached)
	} else if err != nil {
		return Info{}, fmt.Errorf("cannot get the status of %s: %w", devicePath(number), os.NewSyscallError("LOOP_GET_STATUS64", err))
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return Info{}, fmt.Errorf("cannot get the size of %s: %w", devicePath(number), err)
	}
	block, err := unix.IoctlGetUint32(fd, unix.BLKSSZGET)
	if err != nil {
		return Info{}, fmt.Errorf("cannot get the block size of %s: %w", devicePath(number), os.NewSyscallError("BLKSSZGET", err))
	}
	return Info{
		Number:      number,
		Path:        devicePath(number),
		BackingFile: backingName(number, st.File_name[:]),
		Dev:         st.Device,
		Inode:       st.Inode,
		Offset:      st.Offset,
		SizeLimit:   st.Sizelimit,
		Size:        uint64(size),
		Autoclear:   st.Flags&losetup.FlagsAutoClear != 0,
		DirectIO:    st.Flags&losetup.FlagsDirectIO != 0,
		ReadOnly:    st.Flags&losetup.FlagsReadOnly != 0,
		BlockSize:   block,
	}, nil
}

// backingName is the full name of the backing file from sysfs, or where there
// is no sysfs the status's, of at most 63 bytes. sysfs gives d_path's bytes
// without any escapes, and one newline after them
// (Documentation/ABI/testing/sysfs-block-loop).
func backingName(number int, short []byte) string {
	if name, err := os.ReadFile(sysPath(number, "loop", "backing_file")); err == nil {
		return strings.TrimSuffix(string(name), "\n")
	}
	return unix.ByteSliceToString(short)
}

// isGone says whether an error of opening a device, or of its status, means
// that it is not attached: it has no file, is being torn down (ENXIO from the
// driver's open), or was removed altogether.
func isGone(err error) bool {
	return errors.Is(err, ErrNotAttached) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) || errors.Is(err, fs.ErrNotExist)
}
