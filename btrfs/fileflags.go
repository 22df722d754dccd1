package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FileFlags are the flags of a file or a directory that chattr(1) sets, and send streams say nothing of.
type FileFlags struct {
	// Path is where it is in its subvolume. It need not be text.
	Path []byte `json:"path"`
	// Flags are chattr's letters.
	Flags string `json:"flags"`
}

// fileFlag is one of the flags.
type fileFlag struct {
	letter rune
	inode  uint64 // in the inode's item (btrfs_inode_item)
	fsx    uint32 // of struct fsxattr; 0 = it is none of that
	fs     uint32 // of FS_IOC_SETFLAGS
}

// Bits of struct fsxattr and of FS_IOC_SETFLAGS (linux/fs.h).
const (
	xflagImmutable = 0x8
	xflagAppend    = 0x10
	xflagSync      = 0x20
	xflagNoAtime   = 0x40
	xflagNoDump    = 0x80

	flagSync      = 0x8
	flagImmutable = 0x10
	flagAppend    = 0x20
	flagNoDump    = 0x40
	flagNoAtime   = 0x80
	flagDirSync   = 0x10000
	flagNoCow     = 0x800000
)

const (
	iocGetFSX = iocRead | 'X'<<8 | 31 | unsafe.Sizeof(fsxattr{})<<16
	iocSetFSX = iocWrite | 'X'<<8 | 32 | unsafe.Sizeof(fsxattr{})<<16
)

// fileFlags are those that are kept. Compression ("c") is an extended attribute besides, which streams have; "m" is also set by the
// kernel, for what does not get smaller.
var fileFlags = []fileFlag{
	{'S', 1 << 5, xflagSync, flagSync},
	{'i', 1 << 6, xflagImmutable, flagImmutable},
	{'a', 1 << 7, xflagAppend, flagAppend},
	{'d', 1 << 8, xflagNoDump, flagNoDump},
	{'A', 1 << 9, xflagNoAtime, flagNoAtime},
	{'D', 1 << 10, 0, flagDirSync},
	{'C', 1 << 1, 0, flagNoCow},
}

// flagLetters are the letters of an inode's flags.
func flagLetters(inode uint64) string {
	var b strings.Builder
	for _, f := range fileFlags {
		if inode&f.inode != 0 {
			b.WriteRune(f.letter)
		}
	}
	return b.String()
}

// ReadFlags finds the files and directories with flags in the subvolume at path, in one pass over its tree, as they were at the last
// commit (Sync). Its root, and what no path can name, is left out; a file that has several names is there by one.
func ReadFlags(path string) ([]FileFlags, error) {
	var out []FileFlags
	seen := map[uint64]bool{}
	err := findFiles(path, func(mode uint32, flags uint64) bool {
		kind := mode & unix.S_IFMT
		return (kind == unix.S_IFREG || kind == unix.S_IFDIR) && flagLetters(flags) != ""
	}, func(f fileRef, path string) {
		if !seen[f.inode] {
			seen[f.inode] = true
			out = append(out, FileFlags{[]byte(path), flagLetters(f.flags)})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the flags of the files in %s: %w", path, err)
	}
	return out, nil
}

// SetFlags gives the files of the writable subvolume at path just these flags. A file with data stays as it is with respect to "C",
// which only an empty one can be given.
func SetFlags(path string, want []FileFlags) error {
	have, err := ReadFlags(path)
	if err != nil {
		return err
	}
	flags := map[string]string{}
	for _, f := range have {
		flags[string(f.Path)] = ""
	}
	for _, f := range want {
		flags[string(f.Path)] = f.Flags
	}
	for _, f := range have {
		if flags[string(f.Path)] == f.Flags {
			delete(flags, string(f.Path))
		}
	}
	return changeFlags(path, flags)
}

// DropProtection takes the flags away that are in the way of changes ("i" and "a") in the writable subvolume at path.
func DropProtection(path string) error {
	have, err := ReadFlags(path)
	if err != nil {
		return err
	}
	flags := map[string]string{}
	for _, f := range have {
		if strings.ContainsAny(f.Flags, "ia") {
			flags[string(f.Path)] = strings.NewReplacer("i", "", "a", "").Replace(f.Flags)
		}
	}
	return changeFlags(path, flags)
}

// changeFlags sets the flags of files by their paths.
func changeFlags(path string, flags map[string]string) error {
	if len(flags) == 0 {
		return nil
	}
	root, err := openSubvolume(path)
	if err != nil {
		return err
	}
	var errs []error
	for name, letters := range flags {
		if err := changeFileFlags(root, name, letters); err != nil {
			errs = append(errs, fmt.Errorf("cannot set the flags of %s/%s: %w", path, name, err))
		}
	}
	return errors.Join(append(errs, root.Close())...)
}

func changeFileFlags(root *os.File, name, letters string) error {
	// What is opened as a path is not opened as a device.
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	at, err := unix.Openat2(int(root.Fd()), name, &how)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV), errors.Is(err, unix.ENAMETOOLONG):
		return nil // the stream has made something else of it
	case err != nil:
		return err
	}
	defer func() { _ = unix.Close(at) }()
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return err
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return nil
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", at))
	if err != nil {
		return err
	}
	return errors.Join(setFileFlags(f, letters, st.Mode&unix.S_IFMT == unix.S_IFDIR || st.Size == 0), f.Close())
}

// setFileFlags sets the flags of an open file, the ones that are in the way of the others at the end.
func setFileFlags(f *os.File, letters string, empty bool) error {
	var fsx, allFSX, fs, allFS uint32
	for _, flag := range fileFlags {
		switch set := strings.ContainsRune(letters, flag.letter); {
		case flag.fsx != 0:
			allFSX |= flag.fsx
			if set {
				fsx |= flag.fsx
			}
		case flag.letter != 'C' || empty:
			allFS |= flag.fs
			if set {
				fs |= flag.fs
			}
		}
	}
	attr, err := getFSX(f)
	if err != nil {
		return err
	}
	now, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	if now&allFS != fs {
		attr.XFlags &^= xflagImmutable | xflagAppend
		if err := setFSX(f, attr); err != nil {
			return err
		}
		if err := setFlagsKeepingCompression(f, now&^(allFS|flagImmutable|flagAppend)|fs); err != nil {
			return err
		}
	}
	attr.XFlags = attr.XFlags&^allFSX | fsx
	return setFSX(f, attr)
}

// propertyCompression is the extended attribute that says how a file is compressed (btrfs-property(8)). FS_IOC_SETFLAGS makes it the
// default wherever "c" is set.
const propertyCompression = "btrfs.compression"

func setFlagsKeepingCompression(f *os.File, flags uint32) error {
	how := make([]byte, 64)
	n, err := unix.Fgetxattr(int(f.Fd()), propertyCompression, how)
	if err != nil {
		n = 0
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags)); err != nil || n == 0 {
		return err
	}
	if flags&flagNoCow != 0 {
		return nil // which excludes it
	}
	return unix.Fsetxattr(int(f.Fd()), propertyCompression, how[:n], 0)
}

// fsxattr is struct fsxattr (linux/fs.h).
type fsxattr struct {
	XFlags, ExtSize, NExtents, ProjID, CowExtSize uint32
	_                                             [8]byte
}

func getFSX(f *os.File) (a fsxattr, err error) {
	if err = ioctl(int(f.Fd()), iocGetFSX, &a); err != nil {
		err = os.NewSyscallError("FS_IOC_FSGETXATTR", err)
	}
	return a, err
}

func setFSX(f *os.File, a fsxattr) error {
	if err := ioctl(int(f.Fd()), iocSetFSX, &a); err != nil {
		return os.NewSyscallError("FS_IOC_FSSETXATTR", err)
	}
	return nil
}

// WithoutProtection calls do while the flags of an open file are not in its way.
func WithoutProtection(f *os.File, do func() error) error {
	attr, err := getFSX(f)
	if err != nil {
		return err
	}
	open := attr
	open.XFlags &^= xflagImmutable | xflagAppend
	if open == attr {
		return do()
	}
	if err := setFSX(f, open); err != nil {
		return err
	}
	return errors.Join(do(), setFSX(f, attr))
}

// fileRef is a name of a file.
type fileRef struct {
	inode, dir uint64
	name       string
	mode       uint32
	flags      uint64
}

// findFiles calls found with each name of each inode of the subvolume at path that keep wants, in one pass over its tree, and with
// its path. The root is none of them.
func findFiles(path string, keep func(mode uint32, flags uint64) bool, found func(f fileRef, path string)) (err error) {
	f, err := openSubvolume(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	root, err := rootID(f)
	if err != nil {
		return err
	}
	var refs []fileRef
	var now fileRef // the last inode that is wanted
	err = newTreeWalker(f).items(root, firstFreeObjectID, func(h itemHeader, data []byte) error {
		const modeAt, flagsAt = 52, 64
		ref := now
		switch {
		case h.Type == inodeItemKey && len(data) >= flagsAt+8:
			mode, flags := binary.LittleEndian.Uint32(data[modeAt:]), binary.LittleEndian.Uint64(data[flagsAt:])
			if h.ObjectID != firstFreeObjectID && keep(mode, flags) {
				now = fileRef{inode: h.ObjectID, mode: mode, flags: flags}
			}
		case h.ObjectID != now.inode:
		case h.Type == inodeRefKey:
			for name := range fileNames(data, 8) {
				ref.dir, ref.name = h.Offset, name
				refs = append(refs, ref)
			}
		case h.Type == inodeExtrefKey && len(data) >= 8:
			for name := range fileNames(data, 16) {
				ref.dir, ref.name = binary.LittleEndian.Uint64(data), name
				refs = append(refs, ref)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range refs {
		dir, err := inodePath(f, root, r.dir)
		if errors.Is(err, unix.ENAMETOOLONG) {
			continue
		} else if err != nil {
			return err
		}
		found(r, dir+r.name)
	}
	return nil
}
