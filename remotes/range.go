package remotes

import (
	"fmt"
	"strconv"
	"strings"
)

// parseContentRange reads the header of a 206 answer, "bytes 5-9/10" or
// "bytes 5-9/*" (RFC 9110, 14.4): where it starts, and the length of the whole
// file, -1 when it is not said.
func parseContentRange(s string) (start, total int64, err error) {
	bad := fmt.Errorf("the server sent a bad Content-Range %q", s)
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return 0, 0, bad
	}
	span, size, ok := strings.Cut(rest, "/")
	first, last, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 {
		return 0, 0, bad
	}
	start, err1 := parseDigits(first)
	end, err2 := parseDigits(last)
	if err1 != nil || err2 != nil || end < start {
		return 0, 0, bad
	}
	if size == "*" {
		return start, -1, nil
	}
	total, err = parseDigits(size)
	if err != nil || end >= total {
		return 0, 0, bad
	}
	return start, total, nil
}

// parseDigits is strconv.ParseInt without signs.
func parseDigits(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}
