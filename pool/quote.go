package pool

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// QuotePath is a path as it can be shown on a terminal and in one line: itself, or,
// where it has control characters, quotes, backslashes, spaces at its ends, an arrow or bytes
// that are no UTF-8, in double quotes with those escaped as in Go and C ("\n",
// "\xff"), so that no two paths look the same.
func QuotePath(path string) string {
	odd := func(r rune) bool {
		return r == '"' || r == '\\' || r == utf8.RuneError || !unicode.IsPrint(r)
	}
	if strings.ContainsFunc(path, odd) || strings.TrimSpace(path) != path || strings.Contains(path, " -> ") {
		return strconv.Quote(path)
	}
	return path
}
