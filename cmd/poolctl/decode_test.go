package main

import (
	"strings"
	"testing"
)

// What is wrong with YAML that somebody wrote is told in one line, in words of YAML.
func TestYAMLThatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"foo: 1\n":                          `line 1: unknown field "foo": the fields are storage_pools, networks, profiles, config`,
		"storage_pools:\n- nme: x\n":        `line 2: unknown field "nme"`,
		"storage_pools: 5\n":                `line 1: "5" is where a list has to be`,
		"storage_pools:\n- name: [1]\n":     `line 2: a list is where a text has to be`,
		"storage_pools:\n- config: 7\n":     `line 2: "7" is where a mapping has to be`,
		"config: [\n":                       `line 1: did not find expected node content`,
		"networks:\n- type: ovn\n  name: n": `network n: unknown type "ovn"`,
		"- 1\n":                             `line 1: a list is where a mapping has to be`,
	} {
		if _, err := readPreseed(strings.NewReader(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	for _, text := range []string{"", "\n", "{}"} {
		if _, err := readPreseed(strings.NewReader(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	const fields = "the fields are config, description, name, driver, used_by, status, locations"
	if _, err := readPoolConfig([]byte("size: 1GiB\n")); err == nil || err.Error() != `line 1: unknown field "size": `+fields {
		t.Error(err)
	}
}
