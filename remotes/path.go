package remotes

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"unicode"
)

// maxPathLen bounds a path in a catalogue.
const maxPathLen = 1024

// schemeRE finds a URL scheme with a path behind it. A colon alone is common in
// file names ("com.ubuntu.cloud:released:download.json", "20230423_23:08/").
var schemeRE = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*:/`) })

// checkPath refuses a path from a catalogue that would leave the remote's own
// directory: absolute, with a scheme or host, with "." or ".." in it.
func checkPath(p string) error {
	switch {
	case p == "":
		return errors.New("it is empty")
	case len(p) > maxPathLen:
		return fmt.Errorf("it is longer than %d bytes", maxPathLen)
	case p[0] == '/':
		return errors.New("it is absolute")
	case schemeRE().MatchString(p):
		return errors.New("it is a URL")
	case strings.ContainsRune(p, '\\'):
		return errors.New(`it holds a "\"`)
	case strings.ContainsFunc(p, isControl):
		return errors.New("it holds a control character")
	}
	for rest := p; ; {
		seg, more, found := strings.Cut(rest, "/")
		if seg == "" || seg == "." || seg == ".." {
			return fmt.Errorf("it holds the element %q", seg)
		}
		if !found {
			return nil
		}
		rest = more
	}
}

// joinPath appends a path from a catalogue to the remote's URL. The path is
// taken literally: what is special in a URL gets escaped.
func joinPath(base *url.URL, p string) (string, error) {
	if err := checkPath(p); err != nil {
		return "", fmt.Errorf("the path %q is refused: %w", p, err)
	}
	u := *base
	u.Path += "/" + p
	u.RawPath = ""
	return u.String(), nil
}

// isControl tells the characters that could drive a terminal (ECMA-48 C0 and
// C1), and the replacement character of bytes that are no UTF-8.
func isControl(c rune) bool {
	return unicode.IsControl(c) || c == unicode.ReplacementChar
}

// printable replaces control characters, so that a catalogue's words can be
// shown on a terminal.
func printable(s string) string {
	if !strings.ContainsFunc(s, isControl) {
		return s
	}
	return strings.Map(func(c rune) rune {
		if isControl(c) {
			return '?'
		}
		return c
	}, s)
}
