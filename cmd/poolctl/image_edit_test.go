package main

import (
	"strings"
	"testing"
)

// TestReadImagePut: what says nothing of the properties does not wipe them.
func TestReadImagePut(t *testing.T) {
	for text, want := range map[string]string{
		"fingerprint: x\n":                 "no key properties",
		"public: true\n":                   "no key properties",
		"properties: {}\n":                 "",
		"public: true\nproperties:\n":      "",
		"properties: {os: A}\nsize: 3\n":   "",
		"properties: {os: A}\npublik: 3\n": "unknown field",
	} {
		_, err := readImagePut([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
