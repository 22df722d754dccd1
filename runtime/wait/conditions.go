package wait

import (
	"syscall"
	"unsafe"
)

// ConditionsFile is in the run directory, one line for each condition:
//
//	KIND AFTER A B PATH
//
// with decimal numbers between. The upkeep is due as soon as one of them is met.
// A condition is not looked at before AFTER seconds have passed since the file
// was read. A file that is not there has the number Absent, and no links.
//
//	n   the number in the file is not A
//	r   the number in the file is larger than A, or more than B below the highest seen
//	l   the number of links of the file is not A
//	f   the file is not inode A of nanosecond B (of its change, modulo 1e9)
//	s   the subvolume of btrfs was changed, since A seconds and B nanoseconds
//	c   there is no chain with B rules that PATH names, "TABLE CHAIN" in nftables' family A (NFPROTO_*)
//	t   always
const ConditionsFile = "conditions"

// Absent is the number in a file that is not there.
const Absent = 1<<64 - 1

const (
	maxConditions    = 64
	maxConditionText = 24 << 10
)

// conditions are those of the file.
type conditions struct {
	text   [maxConditionText]byte
	n      int                   // bytes of it
	loaded int64                 // when, in seconds
	looked int64                 // last
	peaks  [maxConditions]uint64 // the highest number of each
	count  int
	rules  uint32 // the ruleset in which all chains were found as they should be
}

// load reads the file anew. Without one nothing is looked at any more.
func (p *process) load() {
	p.n, p.count, p.rules, p.loaded = 0, 0, 0, now()
	if p.Upkeep == 0 {
		return
	}
	fd, errno := open(p.RunDir+"/"+ConditionsFile+"\x00", syscall.O_RDONLY)
	if errno != 0 {
		return
	}
	for p.n < len(p.text) {
		m, err := syscall.Read(fd, p.text[p.n:])
		if m <= 0 || err != nil {
			break
		}
		p.n += m
	}
	_ = syscall.Close(fd) // only read
	p.peaks = [maxConditions]uint64{}
}

// looking says whether there is anything to look at.
func (p *process) looking() bool { return p.n > 0 && p.upkeep.pidfd < 0 }

// look has the upkeep done when it is due.
func (p *process) look() {
	t := now()
	if !p.looking() || t-p.looked < tick/1000 {
		return
	}
	p.looked = t
	if p.due(uint64(t - p.loaded)) { //nolint:gosec // it does not run backwards
		p.busy = true
		p.start(&p.upkeep, UpkeepName, p.count)
		if p.upkeep.pidfd < 0 {
			p.loaded = t // it could not be started: not at once again
		}
	}
}

// due says whether a condition is met; age is how old they are, in seconds.
func (c *conditions) due(age uint64) bool {
	met, all := false, true
	var rules uint32
	c.count = 0
	for from := 0; from < c.n && c.count < maxConditions; {
		to := from
		for to < c.n && c.text[to] != '\n' {
			to++
		}
		if to == c.n {
			break // cut off
		}
		c.text[to] = 0 // the end of the path
		var l condition
		if l.read(c.text[from : to+1]) {
			if l.kind == 'c' && rules == 0 {
				rules = ruleset()
			}
			switch {
			case age < l.after:
				all = false
			case l.kind == 'c' && rules != 0 && rules == c.rules: // nothing has changed
			default:
				met = l.met(&c.peaks[c.count]) || met
			}
		}
		c.text[to] = '\n'
		c.count++
		from = to + 1
	}
	if !met && all {
		c.rules = rules
	}
	return met
}

// condition is one line.
type condition struct {
	kind        byte
	after, a, b uint64
	path        *byte
}

func (l *condition) read(line []byte) bool {
	if len(line) < 2 || line[1] != ' ' {
		return false
	}
	l.kind, line = line[0], line[2:]
	for _, n := range [...]*uint64{&l.after, &l.a, &l.b} {
		i := 0
		for i < len(line) && line[i] != ' ' {
			i++
		}
		var ok bool
		if *n, ok = number(line[:i]); !ok || i+1 >= len(line) {
			return false
		}
		line = line[i+1:]
	}
	l.path = &line[0]
	return true
}

func (l *condition) met(peak *uint64) bool {
	switch l.kind {
	case 'n':
		return numberIn(l.path) != l.a
	case 'r':
		n := numberIn(l.path)
		if n == Absent {
			return false // its own absence is another condition's
		}
		*peak = max(*peak, n)
		return n > l.a || *peak-n > l.b
	case 'l', 'f':
		st := stat(l.path)
		if l.kind == 'l' {
			return uint64(st.Nlink) != l.a //nolint:unconvert // 32 bits on other machines
		}
		return st.Ino != l.a || st.Ino != 0 && uint64(st.Mtim.Nsec) != l.b //nolint:gosec // below 1e9
	case 's':
		sec, nsec := changeOf(l.path)
		return sec != l.a || nsec != l.b
	case 'c':
		return chainDiffers(l.a, l.b, l.path)
	}
	return l.kind == 't'
}

// stat is all zero for a file that is not there.
func stat(path *byte) (st syscall.Stat_t) {
	const oPath = 0x200000
	fd, errno := openAt(path, oPath)
	if errno != 0 {
		return st
	}
	_ = syscall.Fstat(fd, &st) // then it is all zero
	_ = syscall.Close(fd)      // a path only
	return st
}

func numberIn(path *byte) uint64 {
	fd, errno := openAt(path, syscall.O_RDONLY)
	if errno != 0 {
		return Absent
	}
	var buf [32]byte
	m, _ := syscall.Read(fd, buf[:])
	_ = syscall.Close(fd) // only read
	if m > 0 && buf[m-1] == '\n' {
		m--
	}
	n, ok := number(buf[:max(m, 0)])
	if !ok {
		return Absent
	}
	return n
}

// subvolInfo is struct btrfs_ioctl_get_subvol_info_args (linux/btrfs.h), of which
// the time of the last change matters.
type subvolInfo struct {
	_    [0x178]byte
	sec  uint64
	nsec uint32
	_    [0x1f8 - 0x178 - 16]byte
}

// iocGetSubvolInfo is BTRFS_IOC_GET_SUBVOL_INFO.
const iocGetSubvolInfo = 0x81f8943c

var subvol subvolInfo

// changeOf is zero for what is no subvolume.
func changeOf(path *byte) (sec, nsec uint64) {
	fd, errno := openAt(path, syscall.O_RDONLY|syscall.O_DIRECTORY)
	if errno != 0 {
		return 0, 0
	}
	_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), iocGetSubvolInfo, uintptr(unsafe.Pointer(&subvol)))
	_ = syscall.Close(fd) // only read
	if errno != 0 {
		return 0, 0
	}
	return subvol.sec, uint64(subvol.nsec)
}

func text64(n uint64) string {
	var buf [20]byte
	i := len(buf)
	for {
		i--
		buf[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(buf[i:])
		}
	}
}
