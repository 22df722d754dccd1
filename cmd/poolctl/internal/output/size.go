package output

import "fmt"

// IEC writes bytes with two decimals and a binary unit ("3.54MiB"), fewer than
// 1024 without decimals, as lxc writes memory.
func IEC(n int64) string {
	return scaled(n, 1024, []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"})
}

// SI writes bytes with two decimals and a decimal unit ("2.22kB"), as lxc writes
// traffic.
func SI(n int64) string { return scaled(n, 1000, []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}) }

func scaled(n int64, base float64, units []string) string {
	if n < int64(base) {
		return fmt.Sprintf("%d%s", n, units[0])
	}
	value, i := float64(n), 0
	for value >= base && i+1 < len(units) {
		value /= base
		i++
	}
	return fmt.Sprintf("%.2f%s", value, units[i])
}
