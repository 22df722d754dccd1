package pool

import (
	"strings"
	"testing"
	"time"
)

// TestExpirySpans: long spans add up too, and one that ends at no date that can be recorded is refused.
func TestExpirySpans(t *testing.T) {
	now := time.Date(2026, 11, 28, 15, 7, 0, 5, time.UTC)
	for span, want := range map[string]time.Time{
		"3d 2H":      time.Date(2026, 12, 1, 17, 7, 0, 5, time.UTC),
		"1y 2m 1w":   time.Date(2028, 2, 4, 15, 7, 0, 5, time.UTC),
		"525600000M": time.Date(3026, 3, 31, 15, 7, 0, 5, time.UTC),
		"8760000H":   time.Date(3026, 3, 31, 15, 7, 0, 5, time.UTC),
	} {
		if got, err := parseExpiry(span, now); err != nil || !got.Equal(want) {
			t.Errorf("%s ends at %v, %v, want %v", span, got, err, want)
		}
	}
	for _, span := range []string{"9999y", "2147483647d", "2147483647w", "2147483647m", "2147483647y"} {
		if _, err := parseExpiry(span, now); err == nil || !strings.Contains(err.Error(), "9999") {
			t.Errorf("%s: %v", span, err)
		}
	}
	if _, err := parseExpiry("2020-01-01", now); err == nil || !strings.HasPrefix(err.Error(), "cannot use the expiry 2020-01-01: ") {
		t.Error(err)
	}
}
