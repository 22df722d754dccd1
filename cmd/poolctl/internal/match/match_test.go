package match

import "testing"

func TestValue(t *testing.T) {
	for _, c := range []struct {
		pattern, value string
		want           bool
	}{
		{"3.8", "3.8", true},
		{"3.8", "3x8", true}, // a regular expression, as in lxc
		{"3", "3.8", false},
		{"3.*", "3.8", true},
		{"^3", "3.8", true},
		{"8$", "3.8", true},
		{"a|b", "ab", false}, // the whole value
		{"a|b", "b", true},
		{"(", "(", true},
		{"(", "x", false},
		{"", "", true},
		{"", "x", false},
	} {
		if got := Value(c.pattern, c.value); got != c.want {
			t.Errorf("Value(%q, %q) = %v", c.pattern, c.value, got)
		}
	}
}

func TestPairs(t *testing.T) {
	pairs := map[string]string{"user.blah": "abc", "user.blank": "xyz", "security.privileged": "true", "os": "Alpine", "u.b": "exact"}
	for _, c := range []struct {
		key, pattern string
		want         bool
	}{
		{"user.blah", "abc", true},
		{"us.bla", "abc", true},
		{"us.bla", "xyz", true}, // either of two
		{"u.b", "abc", false},   // the key itself goes before what it abbreviates
		{"u.b", "exact", true},
		{"s.privileged", "true", true},
		{"s.privileged", "false", false},
		{"user", "abc", false},
		{"o", "Alp.*", true},
		{"none", "", false},
	} {
		if got := Pairs(c.key, c.pattern, pairs); got != c.want {
			t.Errorf("Pairs(%q, %q) = %v", c.key, c.pattern, got)
		}
	}
}

func TestName(t *testing.T) {
	for _, c := range []struct {
		filter, name string
		want         bool
	}{
		{"c", "c1", true}, {"c1", "c1", true}, {"1", "c1", false}, {".*1", "c1", true}, {"c1$", "c10", false}, {"^c1", "c10", true}, {"(", "c1", false},
	} {
		if got := Name(c.filter, c.name); got != c.want {
			t.Errorf("Name(%q, %q) = %v", c.filter, c.name, got)
		}
	}
}

func TestAddress(t *testing.T) {
	have := []string{"10.1.2.3", "fd42::5", "not an address"}
	for query, want := range map[string]bool{
		"10.1.2.3": true, "10.1.2.4": false, "10.1.2.0/24": true, "10.1.2.9/24": true, "10.1.3.0/24": false, "fd42::/64": true, "fd42::5": true, "x": false, "": false,
	} {
		if got := Address(query, have); got != want {
			t.Errorf("Address(%q) = %v", query, got)
		}
	}
}

func FuzzPairs(f *testing.F) {
	f.Add("u.b", "(", "user.blah")
	f.Fuzz(func(t *testing.T, key, pattern, full string) {
		if !Pairs(full, pattern, map[string]string{full: pattern}) {
			t.Fatalf("%q=%q does not match itself", full, pattern)
		}
		if Key(key, full) && !Pairs(key, pattern, map[string]string{full: pattern}) {
			t.Fatalf("%q abbreviates %q, but its value is not found", key, full)
		}
	})
}
