package pool

import (
	"slices"
	"strings"
	"testing"

	"poolctl/pool/state"
)

func TestPoolKeyValues(t *testing.T) {
	for _, c := range []struct{ key, good, bad string }{
		{"size", "2GiB|500MB|1048576", "0|many|-1|2 G"},
		{"compress", "zstd|zstd:1|zstd:15|zlib:9|lzo|none", "zstd:0|zstd:16|zstd:|zstd:+3|zstd:03|lzo:1|none:1|gzip|ZSTD|zlib:10"},
		{"reserve", "true|false|yes|0", "maybe|2"},
		{"btrfs.mount_options", "noatime|user_subvol_rm_allowed,compress=zstd:3|autodefrag,commit=120", "ro|subvol=x|subvolid=5|device=/dev/sda|rescue=all|nosuchthing|a,,b|noatime, noacl|compress zstd|nosuid"},
		{
			"btrfs.create_options", "-n 16k|--nodesize=32k --csum sha256|-m single -d single|-n16k -K|-O '^no-holes'",
			"-L x|--label=x|--rootdir /|-r /|/dev/sdb|-n|-n -m|-f|-U 1|--nodes 4k|'open|-b 1g|-- /dev/sdb|-",
		},
		{"volume.size", "10GiB", "big"},
		{"volume.security.shifted", "true|false", "x"},
		{"volume.security.unmapped", "true", "x"},
		{"volume.snapshots.expiry", "3d|1m 2w|1M 2H 3d 4w 5m 6y", "3|d|3x|1d 2d|-1d|0d| "},
		{"volume.snapshots.pattern", "snap%d|{{ creation_date|date:'2006-01-02' }}", ""},
		{"volume.snapshots.schedule", "@never|@daily|@hourly, @weekly|0 6 * * *|*/10 1-5 1,15 jan-mar mon|59 23 31 12 6", "* * * *|60 * * * *|* 24 * * *|* * 0 * *|* * * 13 *|* * * * 8|*/0 * * * *|5-1 * * * *|a * * * *|@daily,@weekly"},
		{"user.anything at all", "x", ""},
	} {
		k, err := findPoolKey(c.key)
		if err != nil {
			t.Errorf("%s: %v", c.key, err)
			continue
		}
		for _, v := range strings.Split(c.good, "|") {
			if err := k.check(v); err != nil {
				t.Errorf("%s=%q: %v", c.key, v, err)
			}
		}
		for _, v := range strings.Split(c.bad, "|") {
			if err := k.check(v); v != "" && err == nil {
				t.Errorf("%s=%q was taken", c.key, v)
			}
		}
	}
	for _, unknown := range []string{"", "sise", "user.", "user", "volume.block.filesystem", "volume.security.shared", "zfs.pool_name", "volume.", "Size", "size "} {
		if k, err := findPoolKey(unknown); err == nil || !strings.Contains(err.Error(), "unknown key") {
			t.Errorf("key %q is %q, %v", unknown, k.name, err)
		}
	}
}

// A key that a pool of this kind cannot have is refused, not ignored.
func TestPoolKeysOfKinds(t *testing.T) {
	for _, c := range []struct {
		kind, key, value string
		ok               bool
	}{
		{state.PoolFile, "size", "2GiB", true},
		{state.PoolDevice, "size", "2GiB", false},
		{state.PoolDirectory, "size", "2GiB", false},
		{state.PoolDevice, "reserve", "true", false},
		{state.PoolDevice, "compress", "zstd", true},
		{state.PoolDirectory, "compress", "zstd", false},
		{state.PoolDirectory, "btrfs.mount_options", "noatime", false},
		{state.PoolDirectory, "btrfs.create_options", "-K", false},
		{state.PoolDirectory, "volume.size", "1GiB", true},
		{state.PoolFile, "source.wipe", "/dev/x", false},
		{state.PoolDirectory, "size", "", true},
	} {
		if err := checkPoolConfig(c.kind, map[string]string{c.key: c.value}); (err == nil) != c.ok {
			t.Errorf("%s=%s for %s: %v", c.key, c.value, kindNames[c.kind], err)
		}
	}
	if err := checkPoolConfig(state.PoolFile, map[string]string{"compress": "zstd", "btrfs.mount_options": "compress-force=lzo"}); err == nil {
		t.Error("two ways to compress were taken")
	}
}

func TestSplitWords(t *testing.T) {
	for in, want := range map[string][]string{
		"": nil, " \t": nil, "a b": {"a", "b"}, `'a b' "c d"`: {"a b", "c d"}, `a\ b`: {"a b"}, `''`: {""}, `a''b`: {"ab"},
		`"a\"b\c"`: {`a"b\c`}, `'a\'`: {`a\`}, "ü 'ö ä'": {"ü", "ö ä"},
	} {
		got, err := splitWords(in)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("splitWords(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{"'a", `"a`, `a\`, `"a\`} {
		if got, err := splitWords(bad); err == nil {
			t.Errorf("splitWords(%q) = %q", bad, got)
		}
	}
}

// FuzzSplitWords: words that are quoted are read as they were.
func FuzzSplitWords(f *testing.F) {
	f.Add("a b", "c'd\"\\")
	f.Fuzz(func(t *testing.T, a, b string) {
		_, _ = splitWords(a)
		quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
		got, err := splitWords(quote(a) + " " + quote(b))
		a, b = strings.ToValidUTF8(a, "\ufffd"), strings.ToValidUTF8(b, "\ufffd")
		if err != nil || len(got) != 2 || len(strings.ToValidUTF8(got[0], "")) < len(strings.ReplaceAll(a, "\ufffd", "")) || !strings.Contains(a+b, "\ufffd") && (got[0] != a || got[1] != b) {
			t.Fatalf("splitWords of %q and %q = %q, %v", a, b, got, err)
		}
	})
}

// FuzzPoolKeys: no value of any key panics, and what is taken can be used.
func FuzzPoolKeys(f *testing.F) {
	for _, s := range []string{"1d 2w", "*/5 * * * *", "zstd:3", "-n 16k", "noatime,compress=zstd", ",", " ", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if value == "" {
			return
		}
		for _, k := range poolKeys() {
			_ = k.check(value)
		}
		if checkMountOptions(value) == nil {
			if _, data := mountArguments(strings.Split(value, ",")); strings.ContainsAny(data, " \n") {
				t.Errorf("mount options %q give %q", value, data)
			}
		}
	})
}
