package main

import (
	"maps"
	"slices"
	"strings"
)

// isPair says whether the word has the form key=value.
func isPair(word string) bool { return strings.Index(word, "=") > 0 }

// keyValues reads arguments of the form key=value; command is named in the
// error about one that is not.
func keyValues(command string, words []string) (map[string]string, error) {
	out := map[string]string{}
	for _, w := range words {
		if !isPair(w) {
			return nil, badUsage(command, "%q is not of the form key=value", w)
		}
		key, value, _ := strings.Cut(w, "=")
		out[key] = value
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
