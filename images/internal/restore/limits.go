package restore

import "fmt"

// Limits bound what one archive, or several that share a Budget, may ask for.
// Zero fields take the default.
type Limits struct {
	// Entries is the number of entries, the left out ones too. Default 1 Mi.
	Entries int64
	// Bytes is the sum of the files' apparent sizes, holes included. Default 32 GiB.
	Bytes int64
	// PathLen is the length of a name in bytes. Default 4096 (PATH_MAX).
	PathLen int
	// Depth is the number of components of a name. Default 256.
	Depth int
}

// Default limits: several times what the largest real images need.
const (
	DefaultEntries = 1 << 20
	DefaultBytes   = 32 << 30
	DefaultPathLen = 4096
	DefaultDepth   = 256
)

// WithDefaults fills in the fields that are zero.
func (l Limits) WithDefaults() Limits {
	if l.Entries <= 0 {
		l.Entries = DefaultEntries
	}
	if l.Bytes <= 0 {
		l.Bytes = DefaultBytes
	}
	if l.PathLen <= 0 {
		l.PathLen = DefaultPathLen
	}
	if l.Depth <= 0 {
		l.Depth = DefaultDepth
	}
	return l
}

// LimitError says which limit an archive exceeds.
type LimitError struct {
	What  string // "entries", "bytes", ...
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("it exceeds the limit of %d %s", e.Limit, e.What)
}

// Budget counts what has been used of Limits. It is not safe for concurrent use.
type Budget struct {
	limits  Limits
	entries int64
	bytes   int64
}

// NewBudget starts a count at zero.
func NewBudget(l Limits) *Budget { return &Budget{limits: l.WithDefaults()} }

// Entry counts one entry.
func (b *Budget) Entry() error {
	if b.entries++; b.entries > b.limits.Entries {
		return &LimitError{"entries", b.limits.Entries}
	}
	return nil
}

// Take counts n bytes of file content.
func (b *Budget) Take(n int64) error {
	if n < 0 || n > b.limits.Bytes-b.bytes {
		return &LimitError{"bytes", b.limits.Bytes}
	}
	b.bytes += n
	return nil
}

// Limits returns the limits with the defaults filled in.
func (b *Budget) Limits() Limits { return b.limits }
