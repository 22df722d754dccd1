package images

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// MaxMetadata is the largest metadata.yaml in bytes that is read.
const MaxMetadata = 256 << 10

// Metadata is the content of an image's metadata.yaml.
type Metadata struct {
	// Architecture is the kernel's name of it, such as x86_64.
	Architecture string
	// CreationDate and ExpiryDate are seconds since 1970; 0 = none.
	CreationDate, ExpiryDate int64
	Properties               map[string]string
	// Templates by the absolute path of the file that each makes.
	Templates map[string]*Template
}

// Template is one entry of a metadata.yaml's templates.
type Template struct {
	When       []string // create, copy, rename, start
	CreateOnly bool     // only when the file does not exist
	Template   string   // name of a file in templates/
	Properties map[string]string
	// UID, GID and Mode (octal) of the file; "" = root's, and 0644 or what it has.
	UID, GID, Mode string
}

// ReadMetadata reads dir/metadata.yaml: YAML or JSON, at most MaxMetadata bytes,
// a plain file. Unknown keys are ignored; numbers may be quoted.
func ReadMetadata(dir string) (*Metadata, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read image metadata: %w", err)
	}
	defer func() { _ = f.Close() }()
	return readMetadataAt(f)
}

func readMetadataAt(dir *os.File) (*Metadata, error) {
	b, err := readFileAt(dir, metadataFile, MaxMetadata)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot read image metadata: there is no %s in the image", metadataFile)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read image metadata: %w", err)
	}
	m, err := parseMetadata(b)
	if err != nil {
		return nil, fmt.Errorf("cannot read image metadata: %s: %w", metadataFile, err)
	}
	return m, nil
}

// readFileAt reads the plain file name in dir, of at most limit bytes; it follows
// no symbolic link and waits for no fifo. Errors name no directory, which may be a
// temporary one of ours.
func readFileAt(dir *os.File, name string, limit int64) ([]byte, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link", name)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a plain file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return b, nil
}
