package pool

import (
	"slices"
	"testing"
	"time"

	"poolctl/btrfs"
)

// ticks calls the watch every two seconds and returns at which of them it is due; see says what there is then.
func ticks(w *limitWatch, seconds int, see func(second int) btrfs.QuotaNow) (due []int) {
	start := time.Unix(1e9, 0)
	for s := 0; s <= seconds; s += 2 {
		now, q := start.Add(time.Duration(s)*time.Second), see(s)
		if w.dueSimple(now, q) {
			w.counted(now, q)
			due = append(due, s)
		}
	}
	return due
}

// With simple quotas it is counted when a limit is nearly used up and something changes, less and less often; at once when
// something came of it; and when much less is written than before.
func TestSizeWatchPauses(t *testing.T) {
	const mib = 1 << 20
	changing := func(s int) btrfs.QuotaStamp { return btrfs.QuotaStamp{Generation: uint64(s) + 1} }
	at := func(used, limit uint64) func(int) btrfs.QuotaNow {
		return func(s int) btrfs.QuotaNow {
			return btrfs.QuotaNow{Mode: btrfs.QuotaSimple, Referenced: used * mib, Limit: limit * mib, Changed: changing(s)}
		}
	}
	for what, tc := range map[string]struct {
		see  func(int) btrfs.QuotaNow
		want []int
	}{
		"half full":       {at(500, 1000), nil},
		"nearly full":     {at(900, 1000), []int{0, 4, 12, 28, 60, 120, 180}},
		"full":            {at(999, 1000), []int{0, 4, 12, 20, 28, 36, 44, 52, 60, 68, 76, 84, 92, 100, 108, 116, 124, 132, 140, 148, 156, 164, 172, 180}},
		"nothing changes": {func(int) btrfs.QuotaNow { return at(999, 1000)(0) }, []int{0}},
		"something comes of it": {func(s int) btrfs.QuotaNow { // it is given more after a minute
			if s <= 60 {
				return at(900, 1000)(s)
			}
			return at(900, 1010)(s)
		}, []int{0, 4, 12, 28, 60, 62, 66, 74, 90, 122}},
		"much less": {func(s int) btrfs.QuotaNow {
			if s < 50 {
				return at(700, 1000)(s)
			}
			return at(500, 1000)(s)
		}, []int{50}},
		"a little less": {func(s int) btrfs.QuotaNow {
			if s < 50 {
				return at(700, 1000)(s)
			}
			return at(600, 1000)(s)
		}, nil},
	} {
		got := ticks(&limitWatch{}, 180, tc.see)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: due at %v, want %v", what, got, tc.want)
		}
	}
}
