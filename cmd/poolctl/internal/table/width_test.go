package table

import (
	"testing"

	"github.com/mattn/go-runewidth"
)

func FuzzWidthOf(f *testing.F) {
	for _, text := range []string{"", "c1", "a b~", "\t", "\x7f", "é", "日本", "🇪🇺", "e\u0301", "\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, want := widthOf(text), runewidth.StringWidth(text); got != want {
			t.Errorf("%q: %d columns, want %d", text, got, want)
		}
	})
}
