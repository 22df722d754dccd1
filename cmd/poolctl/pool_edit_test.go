package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolctl/pool"
)

func TestReadPoolConfig(t *testing.T) {
	for text, want := range map[string]pool.PoolConfig{
		"config: {size: 2GiB, user.n: 5}\ndescription: d":                                             {Config: map[string]string{"size": "2GiB", "user.n": "5"}, Description: "d"},
		"# c\nconfig: {}\nname: p\ndriver: btrfs\nused_by: [a]\nstatus: Created\nlocations: [none]\n": {Config: map[string]string{}},
		"{}": {},
	} {
		got, err := readPoolConfig([]byte(text))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
	}
	for _, bad := range []string{"", "# only a comment\n", "configs: {}", "config: [a]", "config: {a: {b: c}}", "{", "config: {a: b, a: c}"} {
		if got, err := readPoolConfig([]byte(bad)); err == nil {
			t.Errorf("%q is %+v", bad, got)
		}
	}
}

// TestUnknownField: the user is told which fields there are, and of no type of Go.
func TestUnknownField(t *testing.T) {
	_, err := readPoolConfig([]byte("description: d\nnonsense: 1\n"))
	if want := `line 2: unknown field "nonsense": the fields are config, description, name, driver, used_by, status, locations`; err == nil || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
	_, err = readVolume([]byte("nonsense: 1\n"))
	if want := `line 1: unknown field "nonsense": the fields are config, description, expires_at, name, `; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v; want %s", err, want)
	}
}

// FuzzReadPoolConfig: no text panics.
func FuzzReadPoolConfig(f *testing.F) {
	f.Add([]byte("config: {size: 2GiB}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = readPoolConfig(text) })
}
