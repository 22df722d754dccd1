package btrfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LiveQuota looks at the limit of one subvolume as the kernel has it at the
// moment, while Qgroups has it as of the last commit. It takes some
// microseconds, no memory, and nothing is open in between. It is for one
// goroutine.
type LiveQuota struct {
	path     cString
	dir      cString // /sys/fs/btrfs/UUID/qgroups
	mode     cString
	dirty    cString
	own      [3]cString // limit_flags, max_referenced and referenced of the subvolume's qgroup
	group    [3]cString // and of the one of level 1 that has its number
	text     [32]byte
	fs       fsInfoArgs
	sub      subvolInfoArgs
	children searcher
	id       uint64
	files    QuotaFiles
}

// cString is a path as the kernel takes it, made once.
type cString *byte

// QuotaNow is what a LiveQuota sees.
type QuotaNow struct {
	// Mode is QuotaNone when nothing limits the subvolume.
	Mode QuotaMode
	// Group says that the limit is on the qgroup of level 1 that has the
	// subvolume's number, and not on its own.
	Group bool
	// Referenced and Limit are those of that qgroup, in bytes (see Qgroup).
	Referenced, Limit uint64
	// Inconsistent is that of QuotaStatus.
	Inconsistent bool
	// Changed differs from what it was before when something was written in the
	// subvolume, or committed anywhere in the file system.
	Changed QuotaStamp
	// Subvolumes differs from what it was before when the number of subvolumes of
	// the file system does.
	Subvolumes uint64
}

// QuotaStamp is for comparing.
type QuotaStamp struct {
	// Sec and Nsec are when the subvolume was changed last.
	Sec  uint64
	Nsec uint32
	// Generation is that of the file system's last commit.
	Generation uint64
}

// NewLiveQuota is for the subvolume at path.
func NewLiveQuota(path string) (*LiveQuota, error) {
	l, err := newLiveQuota(path)
	if err != nil {
		return nil, fmt.Errorf("cannot look at the limit of %s: %w", path, err)
	}
	return l, nil
}

func newLiveQuota(path string) (l *LiveQuota, err error) {
	f, err := openSubvolume(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	l = &LiveQuota{children: searcher{args: new(searchArgs)}}
	if l.id, err = rootID(f); err != nil {
		return nil, err
	}
	if err := ioctl(int(f.Fd()), iocFSInfo, &l.fs); err != nil {
		return nil, os.NewSyscallError("BTRFS_IOC_FS_INFO", err)
	}
	dir := filepath.Join(sysFS, formatUUID(l.fs.FSID), "qgroups")
	number := strconv.FormatUint(l.id, 10)
	paths := map[*cString]string{&l.path: path, &l.dir: dir, &l.mode: dir + "/mode", &l.dirty: dir + "/inconsistent"}
	for i, name := range []string{"limit_flags", "max_referenced", "referenced"} {
		paths[&l.own[i]] = dir + "/0_" + number + "/" + name
		paths[&l.group[i]] = dir + "/1_" + number + "/" + name
	}
	l.files = QuotaFiles{
		Inconsistent: dir + "/inconsistent", Qgroups: dir, Volume: path,
		Generation: filepath.Join(sysFS, formatUUID(l.fs.FSID), "generation"),
	}
	for i, level := range []string{"0", "1"} {
		group := dir + "/" + level + "_" + number
		l.files.LimitFlags[i], l.files.Limit[i], l.files.Referenced[i] = group+"/limit_flags", group+"/max_referenced", group+"/referenced"
	}
	for to, text := range paths {
		p, err := unix.BytePtrFromString(text)
		if err != nil {
			return nil, err
		}
		*to = p
	}
	return l, nil
}

// QuotaFiles are the files of /sys in which the kernel shows what a LiveQuota
// sees, for those who want to know of a change.
type QuotaFiles struct {
	// LimitFlags are those of the subvolume's own qgroup and of the one of level 1
	// that has its number; Limit and Referenced likewise.
	LimitFlags, Limit, Referenced [2]string
	// Inconsistent is a number that is not 0 then. The number of links of Qgroups
	// is QuotaNow.Subvolumes, the number in Generation is QuotaStamp.Generation.
	Inconsistent, Qgroups, Generation string
	// Volume is the subvolume, which has the rest of the QuotaStamp.
	Volume string
}

// Files names them.
func (l *LiveQuota) Files() QuotaFiles { return l.files }

// Look reads it. A subvolume that is gone has no limit.
func (l *LiveQuota) Look() (now QuotaNow, err error) {
	files := &l.group
	now.Group = true
	flags, err := l.number(files[0])
	if errors.Is(err, unix.ENOENT) || err == nil && flags&limitMaxReferenced == 0 {
		now.Group, files = false, &l.own
		flags, err = l.number(files[0])
	}
	if errors.Is(err, unix.ENOENT) || err == nil && flags&limitMaxReferenced == 0 {
		return QuotaNow{}, nil
	}
	if err == nil {
		now.Limit, err = l.number(files[1])
	}
	if err == nil {
		now.Referenced, err = l.number(files[2])
	}
	if err == nil {
		now.Mode, err = l.quotaMode()
	}
	if err == nil && now.Mode == QuotaFull {
		var dirty uint64
		dirty, err = l.number(l.dirty)
		now.Inconsistent = dirty != 0
	}
	if err == nil {
		err = l.stamp(&now)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return QuotaNow{}, nil // it ended meanwhile
	}
	if err != nil {
		err = fmt.Errorf("cannot look at a limit: %w", err)
	}
	return now, err
}

// quotaMode is that of the file system; before Linux 6.7, where nothing tells,
// there was but one.
func (l *LiveQuota) quotaMode() (QuotaMode, error) {
	text, err := l.read(l.mode)
	switch {
	case errors.Is(err, unix.ENOENT):
		return QuotaFull, nil
	case err == nil && string(text) == "squota":
		return QuotaSimple, nil
	}
	return QuotaFull, err
}

// stamp says when something changed last.
func (l *LiveQuota) stamp(now *QuotaNow) error {
	fd, err := openC(l.path, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	l.fs.Flags = fsInfoGeneration
	err = ioctl(fd, iocFSInfo, &l.fs)
	if err == nil {
		err = ioctl(fd, iocGetSubvolInfo, &l.sub)
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return err
	}
	now.Changed = QuotaStamp{l.sub.CTime.Sec, l.sub.CTime.Nsec, l.fs.Generation}
	// Each qgroup is a directory, and so a link to the one above.
	if fd, err = openC(l.dir, unix.O_DIRECTORY); err != nil {
		return err
	}
	var st unix.Stat_t
	err = errors.Join(unix.Fstat(fd, &st), unix.Close(fd))
	now.Subvolumes = uint64(st.Nlink) //nolint:unconvert // 32 bits on other machines
	return err
}

// Nested says whether all subvolumes nested in the subvolume, and no others, are in
// its qgroup of level 1, and whether there are any. It reads the tree of qgroups, unless there
// are none.
func (l *LiveQuota) Nested() (any, all bool, err error) {
	fd, err := openC(l.path, unix.O_DIRECTORY)
	if err != nil {
		return false, false, fmt.Errorf("cannot look at a limit: %w", err)
	}
	f := os.NewFile(uintptr(fd), "volume")
	defer func() { err = errors.Join(err, f.Close()) }()
	l.children.f = f
	any, err = l.children.hasChildren(l.id)
	if _, nerr := l.number(l.group[0]); err != nil || !any && errors.Is(nerr, unix.ENOENT) {
		return any, true, err // there is no such qgroup
	}
	groups, err := qgroups(f)
	if err != nil {
		return any, false, err
	}
	in := map[QgroupID]bool{}
	for _, c := range groups[MakeQgroupID(1, l.id)].Children {
		in[c] = true
	}
	delete(in, MakeQgroupID(0, l.id))
	all = true
	err = l.children.walk(l.id, func(sub Subvolume) (bool, error) {
		all = all && in[MakeQgroupID(0, sub.ID)]
		delete(in, MakeQgroupID(0, sub.ID))
		return all, nil
	})
	return any, all && len(in) == 0, err
}

// number reads a file with one.
func (l *LiveQuota) number(path cString) (n uint64, err error) {
	text, err := l.read(path)
	if err != nil {
		return 0, err
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is no number", text)
		}
		n = 10*n + uint64(c-'0')
	}
	return n, nil
}

// read reads a short file, less the end of its line.
func (l *LiveQuota) read(path cString) ([]byte, error) {
	fd, err := openC(path, 0)
	if err != nil {
		return nil, err
	}
	n, err := unix.Read(fd, l.text[:])
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return nil, err
	}
	if n > 0 && l.text[n-1] == '\n' {
		n--
	}
	return l.text[:n], nil
}

// openC is open(2) for reading.
func openC(path cString, flags int) (int, error) {
	at := unix.AT_FDCWD
	for {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(path)), uintptr(flags|unix.O_RDONLY|unix.O_CLOEXEC), 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return -1, errno
		}
		return int(fd), nil
	}
}

// LiveReferenced is the Referenced of a qgroup at the moment. One that is not
// there is fs.ErrNotExist.
func LiveReferenced(path string, id QgroupID) (uint64, error) {
	info, err := FSInfo(path)
	if err != nil {
		return 0, err
	}
	name := strings.Replace(id.String(), "/", "_", 1)
	text, err := os.ReadFile(filepath.Join(sysFS, info.UUID, "qgroups", name, "referenced"))
	if err != nil {
		return 0, fmt.Errorf("cannot read qgroup %s: %w", id, err)
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

// ReadNumber reads a file of /sys that holds one number.
func ReadNumber(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("cannot read %s: %w", path, err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return n, nil
}
