package table

import "github.com/mattn/go-runewidth"

// widthOf is how many columns of a terminal a text takes. That of ASCII without control characters, as most is, is its length;
// to find out that of any other text takes a hundred times as long.
func widthOf(text string) int {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' {
			return runewidth.StringWidth(text)
		}
	}
	return len(text)
}
