package pool

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tier says how many snapshots are kept, one for each period.
type tier struct {
	count  int
	period string
}

// periods name the period that a moment is in, in its zone.
var periods = map[string]func(time.Time) string{
	"hourly": func(t time.Time) string { return t.Format("2006-01-02 15 -0700") },
	"daily":  func(t time.Time) string { return t.Format("2006-01-02") },
	"weekly": func(t time.Time) string {
		year, week := t.ISOWeek()
		return fmt.Sprintf("%d/%d", year, week)
	},
	"monthly": func(t time.Time) string { return t.Format("2006-01") },
	"yearly":  func(t time.Time) string { return t.Format("2006") },
}

// retentionKeep may be before a retention, and is not kept.
const retentionKeep = "keep:"

// withoutKeep has the retention in a configuration be what is kept of it.
func withoutKeep(config map[string]string) {
	if rest, is := strings.CutPrefix(config[snapshotRetentionKey], retentionKeep); is {
		config[snapshotRetentionKey] = strings.TrimSpace(rest)
	}
}

// parseRetention reads "24 hourly, 7 daily, 4 weekly", also with "keep:" before it.
func parseRetention(text string) ([]tier, error) {
	var out []tier
	for _, part := range strings.Split(strings.TrimPrefix(text, retentionKeep), ",") {
		words := strings.Fields(part)
		hint := func(err error) error {
			return withHint(err, `for example "24 hourly, 7 daily, 4 weekly": a number and one of hourly, daily, weekly, monthly and yearly, each once`)
		}
		if len(words) != 2 {
			return nil, hint(fmt.Errorf("%q is not a number of snapshots and a period", strings.TrimSpace(part)))
		}
		n, err := strconv.ParseUint(words[0], 10, 16)
		if err != nil || n == 0 {
			return nil, hint(fmt.Errorf("%q is no number of snapshots", words[0]))
		}
		if periods[words[1]] == nil || slices.ContainsFunc(out, func(t tier) bool { return t.period == words[1] }) {
			return nil, hint(fmt.Errorf("%q is no period, or was there before", words[1]))
		}
		out = append(out, tier{int(n), words[1]})
	}
	return out, nil
}

// checkRetention takes what parseRetention does.
func checkRetention(v string) error {
	_, err := parseRetention(v)
	return err
}

// madeAt is a snapshot and when it was made.
type madeAt struct {
	name string
	at   time.Time
}

// retain deletes those of the snapshots of an owner that no tier keeps, and names them:
// OWNER/SNAPSHOT. One that cannot be deleted, as it is looked into, does not keep the
// others; one of later than now, made while the clock was wrong, counts for no tier and
// stays until its time.
func retain(tiers []tier, snaps []madeAt, now time.Time, owner string, remove func(snap string) error) (gone []string, err error) {
	snaps = slices.DeleteFunc(snaps, func(sn madeAt) bool { return sn.at.After(now) })
	var errs []error
	for _, snap := range beyond(tiers, snaps, time.Local) {
		err := remove(snap)
		if err == nil {
			gone = append(gone, owner+"/"+snap)
		} else if !errors.Is(err, ErrNotFound) { // deleted meanwhile
			errs = append(errs, err)
		}
	}
	return gone, errors.Join(errs...)
}

// beyond names the snapshots that no tier keeps: each keeps the newest one of each of
// its last periods in which there is one.
func beyond(tiers []tier, snaps []madeAt, zone *time.Location) []string {
	snaps = slices.Clone(snaps)
	slices.SortStableFunc(snaps, func(a, b madeAt) int { return b.at.Compare(a.at) })
	keep := map[string]bool{}
	for _, t := range tiers {
		seen := map[string]bool{}
		for _, sn := range snaps {
			period := periods[t.period](sn.at.In(zone))
			if len(seen) == t.count && !seen[period] {
				break
			}
			if !seen[period] {
				seen[period], keep[sn.name] = true, true
			}
		}
	}
	var out []string
	for _, sn := range snaps {
		if !keep[sn.name] {
			out = append(out, sn.name)
		}
	}
	return out
}
