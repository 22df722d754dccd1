package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Reservation is what a command is still going to write: bytes.
type Reservation struct {
	Least int64 // into the pool, in any case
	Most  int64 // into the pool, estimated
	Kept  int64 // into the directory of downloads
}

func (r Reservation) plus(o Reservation) Reservation {
	return Reservation{r.Least + o.Least, r.Most + o.Most, r.Kept + o.Kept}
}

// Reserved is a Reservation of this process, until Release or the process's end: it is a file that is held by flock.
type Reserved struct{ file *os.File }

// Reserve notes what a command is going to write into a pool. The caller has LockSpace.
func (d *Dir) Reserve(pool string, r Reservation) (_ *Reserved, err error) {
	f, err := os.CreateTemp(d.locks(), "reserved."+pool+".*")
	if err == nil {
		if err = errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), binary.Write(f, binary.LittleEndian, r)); err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reserve space in pool %s: %w", pool, err)
	}
	return &Reserved{f}, nil
}

// Set changes what is still going to be written. Only the estimate suffers when that fails.
func (r *Reserved) Set(left Reservation) {
	_ = binary.Write(io.NewOffsetWriter(r.file, 0), binary.LittleEndian, left)
}

// Release ends it.
func (r *Reserved) Release() error {
	err := os.Remove(r.file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, r.file.Close())
}

// Reservations sums up what all commands that run have reserved in a pool, and removes what others have left. The caller has
// LockSpace.
func (d *Dir) Reservations(pool string) (sum Reservation, err error) {
	entries, err := os.ReadDir(d.locks())
	if err != nil {
		return sum, fmt.Errorf("cannot read the reservations in pool %s: %w", pool, err)
	}
	for _, e := range entries {
		if of, ok := strings.CutPrefix(e.Name(), "reserved."); !ok || strings.TrimSuffix(of, filepath.Ext(of)) != pool {
			continue
		}
		f, err := os.Open(filepath.Join(d.locks(), e.Name()))
		if err != nil {
			continue // it was released
		}
		var r Reservation
		if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
			_ = os.Remove(f.Name()) // its process is gone
		} else if binary.Read(f, binary.LittleEndian, &r) == nil {
			sum = sum.plus(r)
		}
		_ = f.Close() // opened for reading
	}
	return sum, nil
}
