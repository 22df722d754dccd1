package pool

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// expiryLayouts are the forms of a date that --expiry takes, in the zone of the
// user unless they name another one.
var expiryLayouts = []string{"2006/01/02 15:04 MST", time.RFC3339, "2006/01/02 15:04", "2006-01-02 15:04", "2006/01/02", "2006-01-02"}

// parseExpiry reads a span from now on ("3d 2H") or a date. It is zero for "".
func parseExpiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range expiryLayouts {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			if !t.After(now) {
				return time.Time{}, fmt.Errorf("cannot use the expiry %s: it is over already", text)
			}
			return t.UTC(), nil
		}
	}
	if err := checkExpiry(text); err != nil {
		return time.Time{}, fmt.Errorf("cannot read the expiry %q: %w", text, err)
	}
	return addExpiry(now, text), nil
}

// addExpiry adds a span that checkExpiry has taken: minutes M, hours H, days d,
// weeks w, months m and years y, as Incus counts them.
func addExpiry(now time.Time, span string) time.Time {
	for _, part := range strings.Fields(span) {
		n, err := strconv.Atoi(part[:len(part)-1])
		if err != nil {
			continue // checked before
		}
		switch part[len(part)-1] {
		case 'M':
			now = addSeconds(now, int64(n)*60)
		case 'H':
			now = addSeconds(now, int64(n)*60*60)
		case 'd':
			now = now.AddDate(0, 0, n)
		case 'w':
			now = now.AddDate(0, 0, 7*n)
		case 'm':
			now = now.AddDate(0, n, 0)
		case 'y':
			now = now.AddDate(n, 0, 0)
		}
	}
	return now
}

// addSeconds adds more than a time.Duration holds, too, which is 292 years.
func addSeconds(at time.Time, n int64) time.Time {
	return time.Unix(at.Unix()+n, int64(at.Nanosecond())).In(at.Location())
}

// isExpired says whether the time of a snapshot is over.
func isExpired(sn tree.VolumeSnapshot, now time.Time) bool {
	return !sn.ExpiresAt.IsZero() && sn.ExpiresAt.Before(now)
}

// dropExpired deletes the snapshots of a locked volume whose time is over. One
// that cannot be deleted is told and stays: what the caller is about is
// something else.
func (s *System) dropExpired(ctx context.Context, v *lockedVolume) {
	now := time.Now()
	kept := v.vol.Snapshots[:0:0]
	for _, sn := range v.vol.Snapshots {
		if !isExpired(sn, now) {
			kept = append(kept, sn)
			continue
		}
		if err := v.DeleteVolumeSnapshot(ctx, v.vol.Name, sn.Name); err != nil {
			kept = append(kept, sn)
			s.notice(err.Error())
		}
	}
	v.vol.Snapshots = kept
}

// expireVolumeSnapshots deletes the snapshots of a pool's custom volumes whose time is
// over. Commands on a volume's snapshots do it for that volume.
func (s *System) expireVolumeSnapshots(ctx context.Context, rec state.PoolRecord) (gone []string, err error) {
	p, err := s.openPool(ctx, rec.Name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	all, err := p.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	now := time.Now()
	for _, vol := range all {
		for _, sn := range vol.Snapshots {
			if vol.Project != tree.DefaultProject || !isExpired(sn, now) {
				continue
			}
			unlock, err := s.dir.LockVolume(ctx, rec.Name, vol.Name)
			if err != nil {
				return gone, errors.Join(append(errs, err)...)
			}
			err = ignoreNotExist(p.DeleteVolumeSnapshot(ctx, vol.Name, sn.Name))
			unlock()
			if err != nil {
				errs = append(errs, err)
				continue
			}
			gone = append(gone, rec.Name+"/"+vol.Name+"/"+sn.Name)
		}
	}
	return gone, errors.Join(errs...)
}
