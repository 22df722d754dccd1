package wait

import (
	"syscall"
	"unsafe"
)

// dropText gives back the pages of files that are mapped: they come back from
// the page cache when they are needed. The kernel maps some 16 of them or more
// around each one that is touched, so that after a start some MB are mapped of
// which a fraction is in use.
func dropText() {
	fd, errno := open("/proc/self/smaps\x00", syscall.O_RDONLY)
	if errno != 0 {
		return
	}
	r := &smaps
	*r = smapsReader{}
	for {
		n, err := syscall.Read(fd, r.buf[:])
		if n <= 0 || err != nil {
			break
		}
		for _, c := range r.buf[:n] {
			if start, end, ok := r.add(c); ok {
				cutMapping(start, end)
				madvise(start, end, syscall.MADV_DONTNEED)
			}
		}
	}
	_ = syscall.Close(fd) // only read
}

// piece is the size of the mappings that cutMapping makes.
const piece = 128 << 10

// cutMapping cuts a mapping into several. The page cache has files in pieces of up to
// 2 MB, a program above all that was installed just now, and the kernel maps each
// of them as a whole where it lies within one mapping (mm/memory.c,
// finish_fault). Neighbours have to differ in something, or they would be merged.
func cutMapping(start, end uintptr) {
	for from := start &^ (2*piece - 1); from < end; from += 2 * piece {
		if to := min(from+piece, end); to > start {
			madvise(max(from, start), to, syscall.MADV_RANDOM)
		}
	}
}

func madvise(start, end, advice uintptr) {
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, start, end-start, advice) // it stays as it is, then
}

// smapsReader finds in a /proc/PID/smaps (man proc_pid_smaps) the mappings of
// files that cannot be written and hold no page of the process's own, which would
// be lost (relocations).
type smapsReader struct {
	buf        [2048]byte
	line       [128]byte // its beginning; a path behind does not matter
	n          int
	start, end uintptr
	candidate  bool
}

var smaps smapsReader

// add takes a byte of the file; ok is true when it has completed a mapping.
func (r *smapsReader) add(c byte) (start, end uintptr, ok bool) {
	if c != '\n' {
		if r.n < len(r.line) {
			r.line[r.n] = c
			r.n++
		}
		return 0, 0, false
	}
	line := r.line[:r.n]
	r.n = 0
	if start, end, file, is := mappingOf(line); is {
		r.start, r.end, r.candidate = start, end, file
		return 0, 0, false
	}
	const anonymous = "Anonymous:"
	if !r.candidate || len(line) < len(anonymous) || string(line[:len(anonymous)]) != anonymous {
		return 0, 0, false
	}
	r.candidate = false
	for _, c := range line[len(anonymous):] {
		if c >= '1' && c <= '9' {
			return 0, 0, false
		}
	}
	return r.start, r.end, true
}

// mappingOf reads "55d0c0000000-55d0c0100000 r-xp ... /usr/bin/poolctl"; file
// says that it is of a file and cannot be written.
func mappingOf(line []byte) (start, end uintptr, file, ok bool) {
	start, line, ok = hex(line)
	if !ok || len(line) == 0 || line[0] != '-' {
		return 0, 0, false, false
	}
	end, line, ok = hex(line[1:])
	if !ok || len(line) < 6 || line[0] != ' ' || end <= start {
		return 0, 0, false, false
	}
	if line[1] == 'r' && line[2] == '-' {
		for _, c := range line {
			file = file || c == '/'
		}
	}
	return start, end, file, true
}

func hex(text []byte) (n uintptr, rest []byte, ok bool) {
	for i, c := range text {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | uintptr(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uintptr(c-'a'+10)
		default:
			return n, text[i:], i > 0
		}
	}
	return n, nil, len(text) > 0
}

// open opens a path that ends with a zero byte.
func open(path string, flags int) (int, syscall.Errno) {
	return openAt(unsafe.StringData(path), flags)
}

func openAt(path *byte, flags int) (int, syscall.Errno) {
	at := -100 // AT_FDCWD
	for {
		fd, _, errno := syscall.Syscall6(syscall.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(path)), uintptr(flags|syscall.O_CLOEXEC), 0o600, 0, 0)
		if errno != syscall.EINTR {
			return int(fd), errno
		}
	}
}
