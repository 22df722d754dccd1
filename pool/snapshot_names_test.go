package pool

import (
	"strings"
	"testing"
	"time"
)

// TestPatternIsLimited: a pattern that recurses, or multiplies what it writes, ends
// with an error, not with the program or its memory.
func TestPatternIsLimited(t *testing.T) {
	began := time.Now()
	for _, pattern := range []string{
		`{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}`,
		strings.Repeat(`{% for a in "0123456789" %}`, 9) + "x" + strings.Repeat(`{% endfor %}`, 9),
		`{% include "/etc/hostname" %}`,
	} {
		if name, err := nextSnapshotName(t.Context(), pattern, began, nil); err == nil {
			t.Errorf("%s gave %q", pattern, name)
		}
	}
	name, err := nextSnapshotName(t.Context(), `{{ creation_date|date:"2006-01-02_15-04" }}-%d`, time.Date(2026, 2, 3, 4, 5, 0, 0, time.UTC), []string{"2026-02-03_04-05-6"})
	if name != "2026-02-03_04-05-7" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
}
