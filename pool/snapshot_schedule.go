package pool

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Keys of instances, profiles and custom volumes, as Incus has them; retention is
// our own.
const (
	snapshotExpiryKey    = "snapshots.expiry"
	snapshotPatternKey   = "snapshots.pattern"
	snapshotScheduleKey  = "snapshots.schedule"
	snapshotStoppedKey   = "snapshots.schedule.stopped" // of instances: also while they are stopped
	snapshotRetentionKey = "snapshots.retention"
)

// snapshotKeys say when snapshots of an instance are made and how long they are kept.
func snapshotKeys() []instanceKey {
	return []instanceKey{
		{name: snapshotExpiryKey, check: checkExpiry},
		{name: snapshotPatternKey, check: checkPattern},
		{name: snapshotScheduleKey, check: checkInstanceSchedule},
		{name: snapshotStoppedKey, check: checkBool},
		{name: snapshotRetentionKey, check: checkRetention},
	}
}

// scheduleNames are the schedules that have names, as cron expressions.
var scheduleNames = map[string]string{
	"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *",
	"@annually": "0 0 1 1 *", "@yearly": "0 0 1 1 *",
}

// neverSchedule is one that is set and never due: against a profile's.
const neverSchedule = "@never"

// startupSchedule is due whenever an instance is started.
const startupSchedule = "@startup"

// checkInstanceSchedule takes what checkSchedule does, and @startup.
func checkInstanceSchedule(v string) error {
	others := slices.DeleteFunc(strings.Split(v, ", "), func(one string) bool { return one == startupSchedule })
	if len(others) == 0 {
		return nil
	}
	return checkSchedule(strings.Join(others, ", "))
}

// snapshotAtStart makes the snapshot that an instance is to have whenever it is
// started, before it is.
func (s *System) snapshotAtStart(ctx context.Context, in *lockedInstance) error {
	if !slices.Contains(strings.Split(in.rec.ExpandedConfig[snapshotScheduleKey], ", "), startupSchedule) {
		return nil
	}
	_, err := s.snapshotLocked(ctx, in, SnapshotOptions{Instance: in.rec.Name, scheduled: true}, time.Now().UTC())
	return err
}

// longestGap is how far back a moment is looked for that was missed.
const longestGap = 366 * 24 * time.Hour

// lastDue is the latest minute after one moment, up to another one, at which a
// schedule that checkInstanceSchedule has taken is due; zero when there is none. Schedules
// are in the zone of the times.
func lastDue(schedule string, after, until time.Time) time.Time {
	after = later(after, until.Add(-longestGap))
	for at := until.Truncate(time.Minute); at.After(after); at = at.Add(-time.Minute) {
		for _, one := range strings.Split(schedule, ", ") {
			if named := scheduleNames[one]; named != "" {
				one = named
			}
			if isDue(strings.Split(one, " "), at) {
				return at
			}
		}
	}
	return time.Time{}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// isDue says whether a cron expression means a minute. Where both the day of the
// month and that of the week are restricted, one of them is enough (crontab(5)).
func isDue(fields []string, at time.Time) bool {
	if len(fields) != len(cronFields) {
		return false
	}
	in := func(i, value int) bool { return cronHas(i, fields[i], value) }
	if !in(0, at.Minute()) || !in(1, at.Hour()) || !in(3, int(at.Month())) {
		return false
	}
	open := func(i int) bool { return strings.HasPrefix(fields[i], "*") || strings.HasPrefix(fields[i], "?") }
	day, weekday := in(2, at.Day()), in(4, int(at.Weekday()))
	if open(2) || open(4) {
		return day && weekday
	}
	return day || weekday
}

// cronHas says whether a field that checkCronField has taken has a value.
func cronHas(i int, text string, value int) bool {
	return slices.ContainsFunc(strings.Split(text, ","), func(item string) bool {
		span, step, stepped := strings.Cut(item, "/")
		from, to := cronFields[i].min, cronFields[i].max
		if span != "*" && span != "?" {
			first, last, ranged := strings.Cut(span, "-")
			from, _ = cronValue(i, first)
			switch {
			case ranged:
				to, _ = cronValue(i, last)
			case !stepped:
				to = from
			}
		}
		n := 1
		if stepped {
			n, _ = strconv.Atoi(step)
		}
		return value >= from && value <= to && (value-from)%max(1, n) == 0
	})
}
