package pool

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// anyValue takes every value.
func anyValue(string) error { return nil }

// checkBool takes Incus's spellings of a truth value.
func checkBool(v string) error {
	if isTrue(v) || slices.Contains([]string{"false", "0", "no", "off"}, strings.ToLower(v)) {
		return nil
	}
	return errors.New("not true or false")
}

// isTrue reads a value that checkBool has taken.
func isTrue(v string) bool {
	return slices.Contains([]string{"true", "1", "yes", "on"}, strings.ToLower(v))
}

// checkSize takes a size of at least one byte.
func checkSize(v string) error {
	n, err := ParseSize(v)
	if err == nil && n == 0 {
		err = errors.New("a size is more than nothing")
	}
	return err
}

// checkExpiry takes Incus's expiries: "3d", "1m 2w", a number with a unit of
// M, H, d, w, m or y (minutes to years), each at most once.
func checkExpiry(v string) error {
	seen := ""
	for _, part := range strings.Fields(v) {
		number, unit := part[:len(part)-1], part[len(part)-1:]
		n, err := strconv.ParseUint(number, 10, 31)
		if err != nil || n == 0 || !strings.Contains("MHdwmy", unit) || strings.Contains(seen, unit) {
			return withHint(fmt.Errorf("%q is no time", part), "for example 3d, or 1m 2w: numbers with M, H, d, w, m or y, each once")
		}
		seen += unit
	}
	if seen == "" {
		return errors.New("it is blank")
	}
	if addExpiry(time.Now(), v).Year() > lastYear {
		return fmt.Errorf("%q ends after the year %d", v, lastYear)
	}
	return nil
}

// lastYear is the last one of dates in JSON and YAML.
const lastYear = 9999

// cronFields are the five fields of a cron expression and their ranges.
var cronFields = []struct {
	name     string
	min, max int
	words    []string // names of the values from min on
}{
	{name: "minute", min: 0, max: 59},
	{name: "hour", min: 0, max: 23},
	{name: "day of the month", min: 1, max: 31},
	{name: "month", min: 1, max: 12, words: []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{name: "day of the week", min: 0, max: 6, words: []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

// checkSchedule takes Incus's schedules: cron expressions of five fields
// (crontab(5)) and the names @hourly, @daily, @midnight, @weekly, @monthly,
// @annually, @yearly and @never; several are separated by a comma and a space.
func checkSchedule(v string) error {
	for _, one := range strings.Split(v, ", ") {
		if scheduleNames[one] != "" || one == neverSchedule {
			continue
		}
		fields := strings.Split(one, " ")
		if len(fields) != len(cronFields) {
			return withHint(fmt.Errorf("%q is no schedule", one), "minute, hour, day of the month, month and day of the week, as in crontab; or @daily and the like")
		}
		for i, f := range fields {
			if err := checkCronField(i, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkCronField takes "*", "5", "1-5", "*/10", "1-30/2", "5/10" and lists of them.
func checkCronField(i int, text string) error {
	about := cronFields[i]
	for _, item := range strings.Split(text, ",") {
		span, step, stepped := strings.Cut(item, "/")
		if n, err := strconv.ParseUint(step, 10, 16); stepped && (err != nil || n == 0) {
			return fmt.Errorf("%q is no %s", item, about.name)
		}
		if span == "*" || span == "?" {
			continue
		}
		first, last, ranged := strings.Cut(span, "-")
		from, ok := cronValue(i, first)
		to := from
		if ranged && ok {
			to, ok = cronValue(i, last)
		}
		if !ok || from > to {
			return fmt.Errorf("%q is no %s (%d to %d)", item, about.name, about.min, about.max)
		}
	}
	return nil
}

// cronValue reads a number or name of a field.
func cronValue(i int, text string) (int, bool) {
	about := cronFields[i]
	if at := slices.Index(about.words, strings.ToLower(text)); at >= 0 {
		return at + about.min, true
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return int(n), err == nil && int(n) >= about.min && int(n) <= about.max
}
