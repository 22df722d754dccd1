package extents

import (
	"testing"

	"pgregory.net/rapid"
)

// Sets of any size are what a map would be.
func TestSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "n")
		s := newSets(n)
		member := rapid.IntRange(0, n-1)
		ids, models := []setID{0}, []map[int]bool{{}}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			a := rapid.IntRange(0, len(ids)-1).Draw(t, "a")
			b := rapid.IntRange(0, len(ids)-1).Draw(t, "b")
			model := map[int]bool{}
			var id setID
			switch rapid.IntRange(0, 2).Draw(t, "op") {
			case 0:
				m := member.Draw(t, "m")
				id, model[m] = s.single(m), true
			case 1:
				id = s.union(ids[a], ids[b])
				for m := range models[a] {
					model[m] = true
				}
				for m := range models[b] {
					model[m] = true
				}
			default:
				id = s.without(ids[a], ids[b])
				for m := range models[a] {
					if !models[b][m] {
						model[m] = true
					}
				}
			}
			ids, models = append(ids, id), append(models, model)
		}
		picked := rapid.SliceOfN(member, 0, 10).Draw(t, "picked")
		in := map[int]bool{}
		for _, m := range picked {
			in[m] = true
		}
		for i, id := range ids {
			both := 0
			for m := range models[i] {
				if in[m] {
					both++
				}
			}
			gotIn, gotOut := s.compare(id, s.mask(picked...))
			if gotIn != both || gotOut != len(models[i])-both || s.several(id) != (len(models[i]) > 1) || (id == 0) != (len(models[i]) == 0) {
				t.Fatalf("set %d: %d in, %d out, several %v; it is %v, picked %v", id, gotIn, gotOut, s.several(id), models[i], picked)
			}
			for j := range ids {
				if same := equal(models[i], models[j]); same != (id == ids[j]) {
					t.Fatalf("%v and %v are sets %d and %d", models[i], models[j], id, ids[j])
				}
			}
		}
	})
}

func equal(a, b map[int]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for m := range a {
		if !b[m] {
			return false
		}
	}
	return true
}

// cover is what counting address by address would give.
func TestCover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSets(5)
		ranges := map[span]setID{}
		addresses := map[uint64]setID{}
		for range rapid.IntRange(0, 20).Draw(t, "ranges") {
			r := span{begin: rapid.Uint64Range(0, 40).Draw(t, "begin")}
			r.end = r.begin + rapid.Uint64Range(1, 20).Draw(t, "length")
			in := s.single(rapid.IntRange(0, 4).Draw(t, "in"))
			ranges[r] = s.union(ranges[r], in)
			for a := r.begin; a < r.end; a++ {
				addresses[a] = s.union(addresses[a], in)
			}
		}
		want := tally{}
		for _, in := range addresses {
			want[in]++
		}
		got := cover(s, ranges)
		for id := range setID(len(s.ids)) {
			if got[id] != want[id] {
				t.Fatalf("cover of %v: %v, want %v", ranges, got, want)
			}
		}
	})
}
