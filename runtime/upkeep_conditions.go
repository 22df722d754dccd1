package runtime

import (
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"poolctl/runtime/wait"
)

// Condition is one under which Hooks.Look is to be called. It is looked at every
// two seconds, in some microseconds.
type Condition struct {
	kind  byte
	after time.Duration
	a, b  uint64
	path  string
}

// NumberAbsent is the number in a file that is not there.
const NumberAbsent = wait.Absent

// NumberChanges is met when the number in a file is another one than now.
func NumberChanges(path string, now uint64) Condition {
	return Condition{kind: 'n', a: now, path: path}
}

// LeavesRange is met when the number in a file is larger than most, or more than
// fall below the highest that was seen.
func LeavesRange(path string, most, fall uint64) Condition {
	return Condition{kind: 'r', a: most, b: fall, path: path}
}

// LinksChange is met when a file has another number of links than now.
func LinksChange(path string, now uint64) Condition {
	return Condition{kind: 'l', a: now, path: path}
}

// FileChanges is met when there is another file at the path, or it was written.
// now is nil when there is none.
func FileChanges(path string, now fs.FileInfo) Condition {
	c := Condition{kind: 'f', path: path}
	if now != nil {
		if st, ok := now.Sys().(*syscall.Stat_t); ok {
			c.a, c.b = st.Ino, uint64(st.Mtim.Nsec) //nolint:gosec // below 1e9
		}
	}
	return c
}

// SubvolumeChanges is met when the last change of the btrfs subvolume at the path
// is another one than that.
func SubvolumeChanges(path string, sec uint64, nsec uint32) Condition {
	return Condition{kind: 's', a: sec, b: uint64(nsec), path: path}
}

// ChainChanges is met when nftables has no chain of that name, in a table of a family
// (NFPROTO_INET, ...; linux/netfilter.h), or it has not that many rules. Names are
// without spaces.
func ChainChanges(family byte, table, chain string, rules int) Condition {
	return Condition{kind: 'c', a: uint64(family), b: uint64(rules), path: table + " " + chain} //nolint:gosec // not negative
}

// Always is met after a time.
func Always(after time.Duration) Condition {
	return Condition{kind: 't', path: "/"}.After(after)
}

// After is the same condition, not looked at before some time, in whole seconds,
// has passed.
func (c Condition) After(d time.Duration) Condition {
	c.after = max(d, 0)
	return c
}

// line is the condition in wait.ConditionsFile. In place of one whose path cannot
// be written there, it is looked from time to time.
func (c Condition) line() string {
	if strings.ContainsAny(c.path, "\n\x00") {
		return Always(retryPause).line()
	}
	return fmt.Sprintf("%c %d %d %d %s\n", c.kind, int64((c.after+time.Second-1)/time.Second), c.a, c.b, c.path)
}
