package state

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// lockPoll is how long a waiter sleeps between two tries: a blocking flock(2) could not be cancelled.
const lockPoll = 5 * time.Millisecond

// lockTry is for how long it is tried to get a lock that others have for a moment only to see whether they get it.
const lockTry = 50 * time.Millisecond

// ErrLocked says that another process has the lock.
var ErrLocked = errors.New("another command is working on it")

// Unlock gives a lock back. Calling it again does nothing.
type Unlock func()

// LockState takes the lock on the state directory's own records: pools, networks, profiles and remotes.
func (d *Dir) LockState(ctx context.Context) (Unlock, error) {
	return d.lock(ctx, "state", "the state directory", false)
}

// LockProfiles takes the lock of what the profiles say: shared by who records what an instance has of them, exclusive to change
// one. Take it after any LockInstance.
func (d *Dir) LockProfiles(ctx context.Context, shared bool) (Unlock, error) {
	return d.lock(ctx, "profiles", "the profiles", shared)
}

// LockClaims takes the lock of what instances and networks claim of the host, which only one can have: ports, addresses, names of
// interfaces. Shared, for claims that the kernel refuses to a second one; exclusive for all others, from the moment they are
// checked until all can see them. Take it after any LockInstance and LockProfiles, and before LockState.
func (d *Dir) LockClaims(ctx context.Context, shared bool) (Unlock, error) {
	return d.lock(ctx, "claims", "what instances claim of the host", shared)
}

// LockNetworks takes the lock of what the networks are: shared by who brings one up as its record says and plugs an interface into
// it, until that is there; exclusive to change one. Take it after any LockInstance and LockClaims, and before LockState.
func (d *Dir) LockNetworks(ctx context.Context, shared bool) (Unlock, error) {
	return d.lock(ctx, "networks", "the networks", shared)
}

// LockIDMaps takes the lock of who gives instances ranges of ids. Take it after any LockInstance.
func (d *Dir) LockIDMaps(ctx context.Context) (Unlock, error) {
	return d.lock(ctx, "idmaps", "the ranges of ids", false)
}

// LockSchedules takes the lock of who makes the snapshots that are due. Take it before any LockPool.
func (d *Dir) LockSchedules(ctx context.Context) (Unlock, error) {
	return d.lock(ctx, "schedules", "the snapshots that are due", false)
}

// LockPool takes the lock of a pool: shared to work in it, exclusive to create, attach, detach, resize or delete it. It
// waits until it has the lock or ctx is cancelled. Take it before any LockInstance.
func (d *Dir) LockPool(ctx context.Context, name string, shared bool) (Unlock, error) {
	if err := ValidateName("pool", name); err != nil {
		return nil, err
	}
	return d.lock(ctx, "pool."+name, "pool "+name, shared)
}

// LockPoolWork takes the lock of what moves a pool's block groups in several steps (a resize), which two commands cannot do
// at a time. Take it after the pool's shared lock. wait says whether to wait for it; otherwise ErrLocked is returned.
func (d *Dir) LockPoolWork(ctx context.Context, name string, wait bool) (Unlock, error) {
	if err := ValidateName("pool", name); err != nil {
		return nil, err
	}
	if wait {
		return d.lock(ctx, "work."+name, "pool "+name, false)
	}
	f := flock.New(filepath.Join(d.locks(), "work."+name))
	ok, err := f.TryLock()
	if err == nil && !ok {
		err = ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock pool %s: %w", name, err)
	}
	return sync.OnceFunc(func() { _ = f.Close() }), nil
}

// LockScrub takes the lock of a pool's scrub, which whoever runs one has until it has ended: shared to wait for that. wait says
// whether to wait for it; otherwise ErrLocked is returned.
func (d *Dir) LockScrub(ctx context.Context, name string, shared, wait bool) (Unlock, error) {
	if err := ValidateName("pool", name); err != nil {
		return nil, err
	}
	if wait {
		return d.lock(ctx, "scrub."+name, "the scrub of pool "+name, shared)
	}
	short, cancel := context.WithTimeout(ctx, lockTry) // who looks has it for a moment
	defer cancel()
	unlock, err := d.lock(short, "scrub."+name, "the scrub of pool "+name, shared)
	if err != nil && short.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("cannot lock the scrub of pool %s: %w", name, ErrLocked)
	}
	return unlock, err
}

// LockInstance takes the lock of the instance of that name, whichever pool it is in: names are unique across pools.
func (d *Dir) LockInstance(ctx context.Context, name string) (Unlock, error) {
	if err := ValidateName("instance", name); err != nil {
		return nil, err
	}
	return d.lock(ctx, "instance."+name, "instance "+name, false)
}

// LockImage takes the lock of an image, so that two pulls of one image download it once. A fingerprint is 64 lower-case
// hexadecimal digits (a SHA-256).
func (d *Dir) LockImage(ctx context.Context, fingerprint string) (Unlock, error) {
	if len(fingerprint) != 64 || strings.Trim(fingerprint, "0123456789abcdef") != "" {
		return nil, &nameError{"image", fingerprint, errors.New("a fingerprint has 64 hexadecimal digits")}
	}
	return d.lock(ctx, "image."+fingerprint, "image "+fingerprint[:12], false)
}

// LockAliases takes the lock of the aliases of a pool's images: no two images get the same one. Take it after any LockImage,
// and only for as long as a record is changed.
func (d *Dir) LockAliases(ctx context.Context, pool string) (Unlock, error) {
	if err := ValidateName("pool", pool); err != nil {
		return nil, err
	}
	return d.lock(ctx, "aliases."+pool, "the aliases in pool "+pool, false)
}

// LockSpace takes the lock of a pool's reservations, for the moment in which one is made. Take it after any LockImage.
func (d *Dir) LockSpace(ctx context.Context, pool string) (Unlock, error) {
	if err := ValidateName("pool", pool); err != nil {
		return nil, err
	}
	return d.lock(ctx, "space."+pool, "the space of pool "+pool, false)
}

// LockVolume takes the lock of a custom volume of a pool. Take it after that of the pool and any LockInstance.
func (d *Dir) LockVolume(ctx context.Context, pool, volume string) (Unlock, error) {
	if err := ValidateName("pool", pool); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(pool + "/" + volume)) // a volume's name may be longer than a file's
	return d.lock(ctx, "volume."+hex.EncodeToString(sum[:16]), "volume "+volume, false)
}

// lock takes the flock of the file that belongs to key. Lock files are never removed: a waiter on an unlinked one would
// believe that it holds the lock.
func (d *Dir) lock(ctx context.Context, key, what string, shared bool) (Unlock, error) {
	f := flock.New(filepath.Join(d.locks(), key))
	try := f.TryLockContext
	if shared {
		try = f.TryRLockContext
	}
	ok, err := try(ctx, lockPoll)
	if err == nil && !ok {
		err = errors.New("another process holds it")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", what, err)
	}
	// Closing the file is what drops the lock; the kernel does that whatever Close says of it.
	return sync.OnceFunc(func() { _ = f.Close() }), nil
}
