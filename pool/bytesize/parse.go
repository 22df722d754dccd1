// Package bytesize reads sizes in bytes as people write them.
package bytesize

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ErrNoNumber is of a size that is no number of bytes, or has an unknown unit.
var ErrNoNumber = errors.New("not a number with a unit")

// units are the suffixes that Incus takes (shared/units/units.go there):
// decimal and binary ones differ, a bare number counts bytes. "KB" is none of
// them: people mean either by it.
var units = map[string]float64{
	"": 1, "B": 1, "bytes": 1,
	"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15, "EB": 1e18,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50, "EiB": 1 << 60,
}

// Parse reads a size in bytes as Incus writes it: "2GiB", "500MB", "1.5TiB",
// "1048576"; a fraction and spaces around the unit are taken too. Sizes that are negative, not a number, above 8 EiB or have an
// unknown unit are errors.
func Parse(s string) (int64, error) {
	text := strings.TrimSpace(s)
	cut := strings.LastIndexAny(text, "0123456789.") + 1
	number, unit := text[:cut], strings.TrimSpace(text[cut:])
	factor, ok := units[unit]
	if !ok || number == "" || strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf("cannot read size %q: %w", s, ErrNoNumber)
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && n >= 0 {
		if float64(n)*factor >= math.MaxInt64 {
			return 0, fmt.Errorf("cannot read size %q: too large", s)
		}
		return n * int64(factor), nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || f < 0 || math.IsNaN(f) {
		return 0, fmt.Errorf("cannot read size %q: %w", s, ErrNoNumber)
	}
	if f*factor >= math.MaxInt64 {
		return 0, fmt.Errorf("cannot read size %q: too large", s)
	}
	return int64(f * factor), nil
}
