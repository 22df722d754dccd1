package pool

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolctl/runtime"
)

func TestParseIDMap(t *testing.T) {
	both := []runtime.IDMap{{ContainerID: 0, HostID: 100000, Size: 65536}}
	for text, want := range map[string][2][]runtime.IDMap{
		"[]":   {},
		"null": {},
		`[{"Isuid":true,"Isgid":false,"Hostid":100000,"Nsid":0,"Maprange":65536},{"Isuid":false,"Isgid":true,"Hostid":100000,"Nsid":0,"Maprange":65536}]`: {both, both},
		`[{"Isuid":true,"Isgid":true,"Hostid":100000,"Nsid":0,"Maprange":65536}]`:                                                                         {both, both},
	} {
		uids, gids, err := parseIDMap([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, [2][]runtime.IDMap{uids, gids}); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	for _, text := range []string{
		"", "{", "7", `[{"Isuid":true,"Hostid":1,"Maprange":1}]`, `[{"Isuid":true,"Isgid":true,"Hostid":-1,"Maprange":1}]`,
		`[{"Isuid":true,"Isgid":true,"Hostid":4294967295,"Maprange":2}]`, `[{"Isuid":true,"Isgid":true,"Nsid":4294967296,"Maprange":1}]`,
		`[{"Isuid":true,"Isgid":true}]`, `[{"Isuid":true,"Isgid":true,"Maprange":9223372036854775807,"Hostid":9223372036854775807}]`,
	} {
		if uids, gids, err := parseIDMap([]byte(text)); err == nil {
			t.Errorf("%s was taken: %v %v", text, uids, gids)
		}
	}
}

func FuzzParseIDMap(f *testing.F) {
	f.Add([]byte(`[{"Isuid":true,"Isgid":true,"Hostid":100000,"Nsid":0,"Maprange":65536}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		uids, gids, err := parseIDMap(text)
		if err != nil {
			return
		}
		for _, m := range append(uids, gids...) {
			if m.Size == 0 || uint64(m.HostID)+uint64(m.Size) > 1<<32 || uint64(m.ContainerID)+uint64(m.Size) > 1<<32 {
				t.Errorf("%s: %+v", text, m)
			}
		}
	})
}
