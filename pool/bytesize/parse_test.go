package bytesize

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "1": 1, "1024": 1024, "1kB": 1000, "1KiB": 1024, "2GB": 2_000_000_000, "2GiB": 2 << 30,
		"1.5GiB": 3 << 29, " 10 MiB ": 10 << 20, "7EiB": 7 << 60, "100B": 100, "100 bytes": 100,
		"3MB": 3_000_000, "3TB": 3_000_000_000_000, "3PB": 3_000_000_000_000_000, "3EB": 3_000_000_000_000_000_000,
		"3MiB": 3 << 20, "3TiB": 3 << 40, "3PiB": 3 << 50,
	} {
		got, err := Parse(in)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "GiB", "-1", "-1GiB", "1XB", "1KB", "1k", "1M", "1gb", "1Gib", "2 G", "8EiB", "99999999999999999999", "NaN", "1e3", "0x10", "1..5GiB", "2GiB2"} {
		if got, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) = %d; want an error", in, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"2GiB", "1.5TB", "", "-1", "9223372036854775807", "1EiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if err == nil && n < 0 {
			t.Fatalf("Parse(%q) = %d: negative", s, n)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "cannot read size") {
			t.Fatalf("Parse(%q): %v", s, err)
		}
	})
}
