package tree

import (
	"strings"
	"testing"
)

// TestReceiveJunk: what cannot be received is named as its owner knows it.
func TestReceiveJunk(t *testing.T) {
	p := newPool(t)
	s, err := p.StageInstance(t.Context(), "c1")
	must(t, err)
	for want, m := range map[string]Member{
		"cannot receive the present state: ":                          {Path: "/"},
		"cannot receive snapshot s1: ":                                {Path: "/", Snapshot: "s1"},
		`cannot receive subvolume "/rootfs/a\nb" of snapshot s1: `:    {Path: "/rootfs/a\nb", Snapshot: "s1"},
		`cannot receive subvolume "/rootfs/a" of the present state: `: {Path: "/rootfs/a"},
	} {
		if err := s.Receive(t.Context(), m, strings.NewReader("junk")); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", m, err, want)
		}
	}
	must(t, s.Abort())
	checkEmpty(t, p)
}
