package pool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The options of mkfs.btrfs(8) that btrfs.create_options can have: those that
// change how the file system is made, and neither what it is made of nor what
// is in it. The label is the pool's name, the UUID a new one, the size size=.
var (
	createValues = []string{"-n", "--nodesize", "-s", "--sectorsize", "-d", "--data", "-m", "--metadata", "-O", "--features", "-R", "--runtime-features", "--csum", "--checksum"}
	createFlags  = []string{"-M", "--mixed", "-K", "--nodiscard"}
)

// checkCreateOptions takes options of mkfs.btrfs, written as for a shell.
func checkCreateOptions(v string) error {
	_, err := createOptions(v)
	return err
}

// createOptions makes arguments of btrfs.create_options.
func createOptions(v string) ([]string, error) {
	words, err := splitWords(v)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(words); i++ {
		w := words[i]
		name, _, valued := strings.Cut(w, "=")
		switch {
		case slices.Contains(createFlags, w):
		case strings.HasPrefix(w, "--") && valued && slices.Contains(createValues, name):
		case slices.Contains(createValues, w):
			if i++; i == len(words) || strings.HasPrefix(words[i], "-") {
				return nil, fmt.Errorf("%s needs a value", w)
			}
		case len(w) > 2 && w[0] == '-' && w[1] != '-' && slices.Contains(createValues, w[:2]): // -n16k
		case !strings.HasPrefix(w, "-"):
			return nil, fmt.Errorf("%q: a pool has one device, its source", w)
		default:
			return nil, withHint(fmt.Errorf("%s is not an option that a pool can be made with", w), "those of mkfs.btrfs that can are %s", strings.Join(append(slices.Clone(createValues), createFlags...), " "))
		}
	}
	return words, nil
}

// splitWords splits text into words as a shell does: at blanks, but not within
// single or double quotes; a backslash takes the next character as it is.
// Nothing is expanded.
func splitWords(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	escaped := false
	for _, r := range text {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune("\"\\$`\n", r) {
				word.WriteByte('\\') // within double quotes it escapes only those
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case strings.ContainsRune(" \t\n", r):
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quote or backslash at its end is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
