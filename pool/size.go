package pool

import (
	"errors"
	"fmt"

	"poolctl/pool/bytesize"
)

// ParseSize is bytesize.Parse with a hint.
func ParseSize(s string) (int64, error) {
	n, err := bytesize.Parse(s)
	if errors.Is(err, bytesize.ErrNoNumber) {
		err = withHint(err, "for example 2GiB, 500MB or a number of bytes")
	}
	return n, err
}

// FormatSize writes bytes with a binary unit and two decimals, as lxc does
// ("1.50GiB"); exact multiples get none ("2GiB").
func FormatSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i, div := 0, int64(1)
	for i+1 < len(units) && n/div >= 1024 {
		div *= 1024
		i++
	}
	if n%div == 0 {
		return fmt.Sprintf("%d%s", n/div, units[i])
	}
	return fmt.Sprintf("%.2f%s", float64(n)/float64(div), units[i])
}
