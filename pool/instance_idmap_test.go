package pool

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolctl/runtime"
)

func TestFreeRange(t *testing.T) {
	taken := []runtime.IDMap{{HostID: 1000, Size: 100}, {HostID: 1000, Size: 100}, {HostID: 1150, Size: 50}, {HostID: 1300, Size: 100}}
	for _, c := range []struct {
		size, prefer, want uint64
		ok                 bool
	}{
		{50, 0, 1100, true},
		{100, 0, 1200, true},
		{101, 0, 1400, true},
		{600, 0, 1400, true},
		{601, 0, 1400, false},
		{50, 1250, 1250, true},
		{51, 1250, 1200, true},
		{50, 900, 1100, true},
		{50, 1990, 1100, true},
	} {
		got, ok := freeRange(taken, 1000, 2000, c.size, c.prefer)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%d ids, preferably from %d: %d, %v; want %d, %v", c.size, c.prefer, got, ok, c.want, c.ok)
		}
	}
}

func ids(inside, host, size uint32) runtime.IDMap {
	return runtime.IDMap{ContainerID: inside, HostID: host, Size: size}
}

func TestRawIDMap(t *testing.T) {
	base := []runtime.IDMap{ids(0, 100000, 65536)}
	for text, want := range map[string][2][]runtime.IDMap{
		"":                              {base, base},
		"both 1000 1000":                {{ids(0, 100000, 1000), ids(1001, 101001, 64535), ids(1000, 1000, 1)}, {ids(0, 100000, 1000), ids(1001, 101001, 64535), ids(1000, 1000, 1)}},
		"uid 50-60 0-10\n\ngid 7 65535": {{ids(11, 100011, 65525), ids(0, 50, 11)}, {ids(0, 100000, 65535), ids(65535, 7, 1)}},
		"uid 5 70000":                   {{ids(0, 100000, 65536), ids(70000, 5, 1)}, base},
		"uid 1-65536 0-65535":           {{ids(0, 1, 65536)}, base},
	} {
		raw, err := parseRawIDMap(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		uids, gids, err := raw.over(base, base)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if d := cmp.Diff(want, [2][]runtime.IDMap{uids, gids}); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
	for text, want := range map[string]string{
		"both 1000":              "invalid line",
		"all 1 1":                "invalid kind",
		"both 1-5 1-4":           "5 ids of the host cannot be 4",
		"both 0 0":               "the host's root",
		"both 5-1 1":             "invalid id or range",
		"both 4294967295 1":      "invalid id or range",
		"uid -1 1":               "invalid id or range",
		"uid 5 1\nuid 5 2":       "of the host are mapped twice",
		"uid 5 1\nuid 6 1":       "of the instance are mapped twice",
		"uid 5-9 1-5\nboth 9 70": "from 9 on of the host are mapped twice",
	} {
		if _, err := parseRawIDMap(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	raw, err := parseRawIDMap("uid 100500 70000")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := raw.over(base, base); err == nil {
		t.Error("an id of the shared range was mapped twice")
	}
}

// FuzzRawIDMap looks for maps that the kernel would not take: with an id twice.
func FuzzRawIDMap(f *testing.F) {
	f.Add("both 1000 1000")
	f.Add("uid 50-60 500-510\ngid 100000-110000 10000-20000")
	f.Fuzz(func(t *testing.T, text string) {
		raw, err := parseRawIDMap(text)
		if err != nil {
			return
		}
		base := []runtime.IDMap{ids(0, 100000, 65536)}
		uids, gids, err := raw.over(base, base)
		if err != nil {
			return
		}
		for _, maps := range [][]runtime.IDMap{uids, gids} {
			if err := checkApart(maps); err != nil {
				t.Errorf("%q: %v", text, err)
			}
			for _, m := range maps {
				if m.HostID == 0 || m.Size == 0 {
					t.Errorf("%q: %v", text, m)
				}
			}
		}
	})
}

func TestSecurityKeys(t *testing.T) {
	for pair, want := range map[string]string{
		"security.privileged=true":                     "",
		"security.privileged=maybe":                    "security.privileged=maybe",
		"security.idmap.size=auto":                     "",
		"security.idmap.size=0":                        "want a number of ids",
		"security.idmap.base=0":                        "want the first id",
		"security.idmap.base=4294967000":               "want the first id",
		"raw.idmap=both 0 0":                           "the host's root",
		"security.syscalls.deny=mkdir errno 1":         "",
		"security.syscalls.deny=frobnicate":            "there is no system call",
		"security.syscalls.allow=# nothing":            "allows no system call",
		"security.syscalls.intercept.mknod=true":       "carried out or refused",
		"security.syscalls.intercept.mount.fuse=false": "",
		"security.syscalls.blacklist=mkdir":            "unknown key",
		"security.guestapi=true":                       "no process that a guest could talk to",
		"security.guestapi=false":                      "",
		"security.secureboot=false":                    "virtual machines",
		"security.sev.policy.es=true":                  "virtual machines",
		"security.protection.delete=yes":               "",
	} {
		k, v, _ := strings.Cut(pair, "=")
		err := checkInstanceConfig(map[string]string{k: v})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", pair, err, want)
		}
	}
}
