package tree

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"poolctl/pool/bytesize"
)

// lxdTrue and lxdFalse say whether LXD reads a value as one of them (shared.IsTrue).
func lxdTrue(value string) bool {
	return slices.Contains([]string{"true", "1", "yes", "on"}, strings.ToLower(value))
}

func lxdFalse(value string) bool {
	return slices.Contains([]string{"", "false", "0", "no", "off"}, strings.ToLower(value))
}

// What follows says whether LXD 5.0.2 takes a value that is not empty.

func lxdAny(string) bool { return true }

func lxdBool(value string) bool { return lxdTrue(value) || lxdFalse(value) }

func lxdOneOf(values ...string) func(string) bool {
	return func(value string) bool { return slices.Contains(values, value) }
}

func lxdInteger(value string) bool {
	_, err := strconv.ParseInt(value, 10, 64)
	return err == nil
}

func lxdUint32(value string) bool {
	_, err := strconv.ParseUint(value, 10, 32)
	return err == nil
}

func lxdPriority(value string) bool {
	n, err := strconv.ParseInt(value, 10, 64)
	return err == nil && n >= 0 && n <= 10
}

var lxdUUIDs = regexp.MustCompile(`^(?i)([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)

// lxdSizes are the sizes that LXD reads, beside "N bytes", which nothing needs.
var lxdSizes = regexp.MustCompile(`^\d+(|B|kB|[MGTPE]B|[KMGTPE]iB)$`)

func lxdBytes(value string) bool {
	_, err := bytesize.Parse(value)
	return err == nil && lxdSizes.MatchString(value)
}

// lxdSize is a size as LXD reads it, in plain bytes where it does not read how it is written.
func lxdSize(value string) string {
	if lxdSizes.MatchString(value) {
		return value
	}
	n, err := bytesize.Parse(value)
	if err != nil { // none at all, as a percentage
		return value
	}
	return strconv.FormatInt(n, 10)
}

func lxdMemory(value string) bool {
	if percent, is := strings.CutSuffix(value, "%"); is {
		n, err := strconv.ParseInt(percent, 10, 64)
		return err == nil && n != 0
	}
	n, err := bytesize.Parse(value)
	return err == nil && n > 0 && lxdSizes.MatchString(value)
}

// lxdAllowance is a share in percent, or a time in a time.
func lxdAllowance(value string) bool {
	if percent, is := strings.CutSuffix(value, "%"); is {
		return lxdInteger(percent)
	}
	quota, period, both := strings.Cut(value, "/")
	return both && lxdInteger(strings.TrimSuffix(quota, "ms")) && lxdInteger(strings.TrimSuffix(period, "ms"))
}

// lxdCPUs is a number, or processors and ranges of them, none twice.
func lxdCPUs(value string) bool {
	var seen [][2]uint64
	for part := range strings.SplitSeq(value, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 32)
		to, err2 := strconv.ParseUint(last, 10, 32)
		if err1 != nil || err2 != nil || slices.ContainsFunc(seen, func(s [2]uint64) bool { return from <= s[1] && s[0] <= to }) {
			return false
		}
		if from <= to { // one that is the wrong way round has none
			seen = append(seen, [2]uint64{from, to})
		}
	}
	return true
}

var lxdSpan = regexp.MustCompile(`^\d{1,18}[SMHdwmy]$`)

// lxdExpiry is times with one space between them, each of another unit.
func lxdExpiry(value string) bool {
	units := ""
	for part := range strings.SplitSeq(strings.TrimSpace(value), " ") {
		if !lxdSpan.MatchString(part) || strings.Contains(units, part[len(part)-1:]) {
			return false
		}
		units += part[len(part)-1:]
	}
	return true
}

var lxdCron = regexp.MustCompile(`^[^ ,@][^ ]*( [^ ]+){4}$`)

// lxdSchedule is names and cron expressions; what is in the fields of these is not looked at.
func lxdSchedule(value string) bool {
	names := lxdOneOf("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@annually", "@yearly", "@startup", "@never")
	for one := range strings.SplitSeq(value, ", ") {
		if !names(strings.ToLower(one)) && !lxdCron.MatchString(one) {
			return false
		}
	}
	return true
}
