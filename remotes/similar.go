package remotes

import (
	"cmp"
	"slices"
	"strings"
)

// maxSimilar is how many suggestions an error makes.
const maxSimilar = 3

// notFound explains why find gave nothing.
func (c *catalogue) notFound(remote, ref string, w Want) error {
	e := &NotFoundError{Remote: remote, Ref: ref, Want: w}
	names := c.spellings(ref)
	for k := range c.claims {
		if slices.Contains(names, k.name) {
			e.Elsewhere = append(e.Elsewhere, Alias{Name: k.name, Arch: k.arch, Type: k.typ})
		}
	}
	slices.SortFunc(e.Elsewhere, func(a, b Alias) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Arch, b.Arch))
	})
	if len(e.Elsewhere) == 0 {
		e.Similar = c.similar(names[len(names)-1])
	}
	return e
}

// similar finds the native aliases that are the fewest edits away from a name,
// and not too many.
func (c *catalogue) similar(name string) []string {
	type near struct {
		name string
		d    int
	}
	if len(name) > 64 {
		return nil
	}
	name = strings.ToLower(name)
	var all []near
	for k := range c.claims {
		if k.arch != c.native || k.typ != TypeContainer || len(k.name) > 64 {
			continue
		}
		if d := distance(name, strings.ToLower(k.name)); d <= max(2, len(name)/3) {
			all = append(all, near{k.name, d})
		}
	}
	slices.SortFunc(all, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.d, b.d), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(b.name, a.name))
	})
	var names []string
	for _, n := range all[:min(len(all), maxSimilar)] {
		names = append(names, n.name)
	}
	return names
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diag, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diag+cost)
		}
	}
	return row[len(b)]
}
