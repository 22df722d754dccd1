package pool

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// Keys of a pool that are those of an Incus server.
const (
	// cacheExpiryKey is after how many days a cached image that no instance was made from is deleted: 10; 0 = never, and not
	// at its expiry date either.
	cacheExpiryKey = "images.remote_cache_expiry"
	// autoUpdateCachedKey says whether images that are cached from now on are kept up to date: true.
	autoUpdateCachedKey = "images.auto_update_cached"
)

// defaultCacheExpiry is Incus's, in days.
const defaultCacheExpiry = 10

// checkDays takes a number of days.
func checkDays(v string) error {
	if n, err := strconv.Atoi(v); err != nil || n < 0 || n > 100_000 {
		return errors.New("not a number of days")
	}
	return nil
}

// updatesCached says whether images that a pool caches are kept up to date.
func updatesCached(rec state.PoolRecord) bool {
	v := rec.Config[autoUpdateCachedKey]
	return v == "" || isTrue(v)
}

// cacheExpiry is how long a cached image stays unused; 0 = for ever.
func cacheExpiry(rec state.PoolRecord) time.Duration {
	days, err := strconv.Atoi(rec.Config[cacheExpiryKey])
	if err != nil {
		days = defaultCacheExpiry
	}
	return time.Duration(days) * 24 * time.Hour
}

// expiredRest is for how long a cached image stays that is used after its expiry
// date: Incus looks once a day.
const expiredRest = 24 * time.Hour

// isStale says whether an image is in the pool only because an instance was made
// from it, and that was long ago, or the image's expiry date is over (Incus,
// doc/image-handling.md, Caching). Where cached images are kept for ever, they
// outlast that too.
func isStale(r tree.ImageRecord, expiry time.Duration, now time.Time) bool {
	used := r.LastUsedAt
	if used.IsZero() {
		used = r.UploadedAt
	}
	if !r.Cached || expiry <= 0 || used.IsZero() {
		return false
	}
	expired := r.ExpiresAt.Unix() > 0 && r.ExpiresAt.Before(now)
	return used.Add(expiry).Before(now) || expired && used.Add(expiredRest).Before(now)
}

// ExpireImages deletes the cached images that were not used for as long as their
// pool says, or whose expiry date is over, in all pools that are attached, and names them: POOL/FINGERPRINT.
// Instances made from them stay whole. Commands that cache an image do it for
// its pool.
func (s *System) ExpireImages(ctx context.Context) (gone []string, err error) {
	return s.inAttachedPools(ctx, s.expireImagesIn)
}

func (s *System) expireImagesIn(ctx context.Context, rec state.PoolRecord) (gone []string, err error) {
	expiry, now := cacheExpiry(rec), time.Now()
	if expiry == 0 {
		return nil, nil
	}
	p, err := s.openPool(ctx, rec.Name)
	if err != nil {
		return nil, err
	}
	all, err := p.Images()
	if err = errors.Join(err, p.close()); err != nil {
		return nil, err
	}
	var errs []error
	for _, im := range all {
		if !isStale(im, expiry, now) {
			continue
		}
		deleted := false
		err := s.deleteImage(ctx, rec.Name, im.Fingerprint, forGood, func(r tree.ImageRecord) bool {
			deleted = isStale(r, expiry, now) // it may have been used while its lock was waited for
			return deleted
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot delete the unused image %s in pool %s: %w", im.Fingerprint[:12], rec.Name, err))
		} else if deleted {
			gone = append(gone, rec.Name+"/"+im.Fingerprint)
		}
	}
	return gone, errors.Join(errs...)
}

// expireAfterCaching deletes the stale images of a pool into which one was just
// cached. What goes wrong there is told, and no reason to fail.
func (s *System) expireAfterCaching(ctx context.Context, rec state.PoolRecord) {
	gone, err := s.expireImagesIn(ctx, rec)
	for _, name := range gone {
		s.noticef("the cached image %s is deleted: it was not used for %d days, or has expired", name, cacheExpiry(rec)/(24*time.Hour))
	}
	if err != nil && ctx.Err() == nil {
		s.notice(err.Error())
	}
}
