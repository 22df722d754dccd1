package btrfs

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// shownUsage reads what "btrfs filesystem usage -b" shows (a test may: it
// compares with the tool).
func shownUsage(t *testing.T, mnt string) Usage {
	t.Helper()
	cmd := exec.Command("btrfs", "filesystem", "usage", "-b", mnt)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	must(t, err)
	text := string(out)
	number := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 10, 64)
		must(t, err)
		return n
	}
	one := func(name string) uint64 {
		m := regexp.MustCompile(regexp.QuoteMeta(name) + `:\s+(\d+)`).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("no %q in\n%s", name, text)
		}
		return number(m[1])
	}
	space := func(kind string) (u SpaceUsage) {
		for _, m := range regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(kind)+`,(\w+): Size:(\d+), Used:(\d+)`).FindAllStringSubmatch(text, -1) {
			u.Allocated += number(m[2])
			u.Used += number(m[3])
			u.Profile = strings.TrimPrefix(u.Profile+"+"+strings.ToLower(m[1]), "+")
		}
		return u
	}
	u := Usage{
		Size: one("Device size"), Used: one("Used"), Free: one("Free (estimated)"), Unallocated: one("Device unallocated"),
		Data: space("Data"), Metadata: space("Metadata"), System: space("System"), GlobalReserve: one("Global reserve"),
	}
	if mixed := space("Data+Metadata"); mixed.Allocated > 0 {
		u.Data = mixed
	}
	return u
}

// compareUsage compares with the tool's view, more than once as the kernel
// removes empty block groups at any time.
func compareUsage(t *testing.T, mnt string) {
	t.Helper()
	var diff string
	for range 10 {
		must(t, Sync(mnt))
		got, err := GetUsage(mnt)
		must(t, err)
		if diff = cmp.Diff(shownUsage(t, mnt), got); diff == "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("(-btrfs +GetUsage):\n%s", diff)
}

func TestUsageAgainstBtrfsProgs(t *testing.T) {
	for name, args := range map[string][]string{
		"default":         nil,
		"single":          {"--metadata", "single"},
		"data dup":        {"--data", "dup"},
		"mixed":           {"--mixed"},
		"mixed dup":       {"--mixed", "--data", "dup", "--metadata", "dup"},
		"little unallocd": {"--byte-count", strconv.Itoa(MinSize)},
	} {
		t.Run(name, func(t *testing.T) {
			mnt := mountImage(t, newImage(t, 600<<20, MkfsOptions{ExtraArgs: args}))
			compareUsage(t, mnt)
			for i := range 6 {
				must(t, os.WriteFile(mnt+"/file"+strconv.Itoa(i), make([]byte, 2<<20), 0o600))
				write(t, mnt+"/small"+strconv.Itoa(i), "in the metadata")
				compareUsage(t, mnt)
			}
		})
	}
}

// While block groups are converted there are two profiles of a kind.
func TestUsageOfSeveralProfiles(t *testing.T) {
	mnt := newFS(t)
	for i := range 20 { // more than one block group
		must(t, os.WriteFile(mnt+"/"+strconv.Itoa(i), make([]byte, 10<<20), 0o600))
	}
	must(t, Sync(mnt))
	run(t, "btrfs", "balance", "start", "-dconvert=dup,limit=1", mnt)
	compareUsage(t, mnt)
	if u, err := GetUsage(mnt); err != nil || len(strings.Split(u.Data.Profile, "+")) != 2 {
		t.Errorf("not two profiles: %+v, %v", u, err)
	}
}

// The estimate has to hold: that much, and not much more, can be written.
func TestUsageFreeIsTrue(t *testing.T) {
	mnt := mountImage(t, newImage(t, 400<<20, MkfsOptions{}))
	u, err := GetUsage(mnt)
	must(t, err)
	f, err := os.Create(mnt + "/fill")
	must(t, err)
	defer func() { _ = f.Close() }()
	written, block := uint64(0), make([]byte, 1<<20)
	for err == nil {
		var n int
		n, err = f.Write(block)
		written += uint64(n)
	}
	if written < u.Free/2 || written > u.Free+(8<<20) {
		t.Errorf("%d bytes were free, %d could be written: %v", u.Free, written, err)
	}
}

func TestComputeUsage(t *testing.T) {
	const m = 1 << 20
	tests := []struct {
		name    string
		devices []Device
		spaces  []spaceInfo
		want    Usage
	}{
		{"nothing", nil, nil, Usage{}},
		{
			"no data yet",
			[]Device{{TotalBytes: 100 * m}},
			[]spaceInfo{{groupMetadata | 1<<5, 10 * m, 1 * m}},
			Usage{Size: 100 * m, Used: 2 * m, Free: 80 * m, Unallocated: 80 * m, Metadata: SpaceUsage{10 * m, m, "dup"}},
		},
		{
			"raid1",
			[]Device{{TotalBytes: 100 * m}, {TotalBytes: 100 * m}},
			[]spaceInfo{{groupData | 1<<4, 20 * m, 5 * m}, {groupReserve | groupMetadata, 3 * m, 0}},
			Usage{Size: 200 * m, Used: 10 * m, Free: 95 * m, Unallocated: 160 * m, Data: SpaceUsage{20 * m, 5 * m, "raid1"}, GlobalReserve: 3 * m},
		},
		{
			"raid5 of 3",
			[]Device{{TotalBytes: 90 * m}, {TotalBytes: 90 * m}, {TotalBytes: 90 * m}},
			[]spaceInfo{{groupData | 1<<7, 20 * m, 10 * m}},
			Usage{Size: 270 * m, Used: 15 * m, Free: 170 * m, Unallocated: 240 * m, Data: SpaceUsage{20 * m, 10 * m, "raid5"}},
		},
		{
			"too little for a block group",
			[]Device{{TotalBytes: 30 * m}},
			[]spaceInfo{{groupData, 20 * m, 5 * m}},
			Usage{Size: 30 * m, Used: 5 * m, Free: 15 * m, Unallocated: 10 * m, Data: SpaceUsage{20 * m, 5 * m, "single"}},
		},
		{
			"more used than there",
			[]Device{{TotalBytes: 1}},
			[]spaceInfo{{groupData, 1, 5}},
			Usage{Size: 1, Used: 5, Data: SpaceUsage{1, 5, "single"}},
		},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, computeUsage(tt.devices, tt.spaces)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
