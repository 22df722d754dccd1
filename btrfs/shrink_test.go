package btrfs

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fillFile writes n bytes that do not compress.
func fillFile(t testing.TB, path string, n int) {
	t.Helper()
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.NativeEndian.PutUint64(b[i:], rand.Uint64()) //nolint:gosec // not for secrets
	}
	must(t, os.WriteFile(path, b, 0o600))
}

// fills are the ways in which the shrinking is tried, and about what is left in use.
var fills = map[string]func(t testing.TB, mnt string){
	"empty": func(testing.TB, string) {},
	"data": func(t testing.TB, mnt string) {
		for i := range 200 {
			fillFile(t, mnt+"/"+strconv.Itoa(i), 1<<20)
		}
	},
	"sparse block groups": func(t testing.TB, mnt string) {
		for i := range 500 {
			fillFile(t, mnt+"/"+strconv.Itoa(i), 1<<20)
		}
		must(t, Sync(mnt))
		for i := range 500 {
			if i%5 != 0 {
				must(t, os.Remove(mnt+"/"+strconv.Itoa(i)))
			}
		}
	},
	"one large file": func(t testing.TB, mnt string) { fillFile(t, mnt+"/large", 140<<20) },
	"large files": func(t testing.TB, mnt string) {
		for i := range 5 {
			fillFile(t, mnt+"/"+strconv.Itoa(i), 90<<20)
		}
		must(t, Sync(mnt))
		must(t, os.Remove(mnt+"/0"))
	},
	"metadata": func(t testing.TB, mnt string) {
		for i := range 15000 {
			if i%1000 == 0 {
				must(t, os.Mkdir(fmt.Sprintf("%s/%d", mnt, i/1000), 0o700))
			}
			fillFile(t, fmt.Sprintf("%s/%d/%d", mnt, i/1000, i), 1800)
		}
	},
	"snapshots": func(t testing.TB, mnt string) {
		must(t, CreateSubvolume(mnt+"/v"))
		for i := range 1500 {
			fillFile(t, fmt.Sprintf("%s/v/%d", mnt, i), 6000)
		}
		for s := range 10 {
			must(t, Snapshot(mnt+"/v", fmt.Sprintf("%s/s%d", mnt, s), true))
			for i := range 100 {
				fillFile(t, fmt.Sprintf("%s/v/%d", mnt, (i*37+s*13)%1500), 6000)
			}
		}
	},
}

// checksums is the SHA-256 of each file below dir.
func checksums(t testing.TB, dir string) map[string][32]byte {
	t.Helper()
	sums := map[string][32]byte{}
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		sums[path] = sha256.Sum256(b)
		return err
	}))
	return sums
}

// deviceSize is what the file system uses of its device.
func deviceSize(t testing.TB, mnt string) uint64 {
	t.Helper()
	info, err := FSInfo(mnt)
	must(t, err)
	return info.Devices[0].TotalBytes
}

// remount mounts the image again: nothing is in the page cache.
func dropCaches(t testing.TB, mnt string) {
	t.Helper()
	must(t, Sync(mnt))
	must(t, os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0o600))
}

// However it was filled, a file system shrinks to exactly the size that is stated
// as the smallest, and is whole and writable then.
func TestShrinkToMinimum(t *testing.T) {
	for name, fill := range fills {
		t.Run(name, func(t *testing.T) {
			image := newImage(t, 3<<30, MkfsOptions{})
			mnt := mountImage(t, image)
			fill(t, mnt)
			must(t, WaitDeleted(t.Context(), mnt))
			want := checksums(t, mnt)
			u, err := GetUsage(mnt)
			must(t, err)
			least, err := MinimumSize(mnt)
			must(t, err)
			most := max(smallestResize, 2*u.Used+160<<20)
			if strings.Contains(name, "large") { // extents of up to 128 MiB, and block groups of a tenth of the size
				most = u.Used + 1400<<20
			}
			if name == "snapshots" { // moving what they share takes more room
				most += 64 << 20
			}
			if least < smallestResize || least > most {
				t.Errorf("smallest size %d MiB with %d MiB used", least>>20, u.Used>>20)
			}
			var last ShrinkProgress
			must(t, Shrink(t.Context(), mnt, 1, least, ShrinkOptions{Progress: func(p ShrinkProgress) { last = p }}))
			if last.Moved != last.Total {
				t.Errorf("progress ends at %+v", last)
			}
			if got := deviceSize(t, mnt); got != least {
				t.Errorf("the file system has %d bytes, want %d", got, least)
			}
			must(t, os.Truncate(image, int64(least))) // beyond it nothing is needed
			dropCaches(t, mnt)
			for path, sum := range checksums(t, mnt) {
				if want[path] != sum {
					t.Errorf("%s has changed", path)
				}
				delete(want, path)
			}
			if len(want) > 0 {
				t.Errorf("%d files are gone", len(want))
			}
			fillFile(t, mnt+"/after", 1<<20)
			must(t, Sync(mnt))
			if p, err := Scrub(t.Context(), mnt, 1, true, nil); err != nil || p.Errors() != 0 {
				t.Errorf("scrub: %+v, %v", p, err)
			}
		})
	}
}

// With too little room, whatever the size asked for, nothing breaks: the file
// system stays writable and can be taken back to its old size.
func TestShrinkWithoutRoom(t *testing.T) {
	for _, name := range []string{"data", "metadata"} {
		t.Run(name, func(t *testing.T) {
			mnt := mountImage(t, newImage(t, 2<<30, MkfsOptions{}))
			fills[name](t, mnt)
			least, err := MinimumSize(mnt)
			must(t, err)
			for _, size := range []uint64{least * 7 / 10, least * 9 / 10, 257 << 20, 4096} {
				err := Shrink(t.Context(), mnt, 1, size&^4095, ShrinkOptions{})
				if err == nil && size < smallestResize {
					t.Errorf("shrunk to %d bytes", size)
				}
				if err != nil && !errors.Is(err, ErrNoRoom) && !errors.Is(err, unix.EINVAL) {
					t.Errorf("shrink to %d MiB: %v", size>>20, err)
				}
				must(t, ResizeMax(t.Context(), mnt, 1))
				fillFile(t, mnt+"/after", 1<<20)
				must(t, Sync(mnt))
			}
			if got := deviceSize(t, mnt); got != 2<<30 {
				t.Errorf("taken back to %d bytes", got)
			}
		})
	}
}

// A shrink that is cancelled ends soon, and all is as before.
func TestShrinkCancelled(t *testing.T) {
	mnt := mountImage(t, newImage(t, 2<<30, MkfsOptions{}))
	fills["snapshots"](t, mnt)
	want := checksums(t, mnt)
	least, err := MinimumSize(mnt)
	must(t, err)
	cancelled := 0
	for after := time.Duration(0); after < 400*time.Millisecond; after = 2*after + time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		err := Shrink(ctx, mnt, 1, least, ShrinkOptions{})
		cancel()
		if err != nil {
			cancelled++
			wantErr(t, "cancelled", err, context.DeadlineExceeded)
		}
		must(t, ResizeMax(t.Context(), mnt, 1))
	}
	if cancelled < 3 {
		t.Errorf("only %d were cancelled in time", cancelled)
	}
	if got := checksums(t, mnt); len(got) != len(want) {
		t.Errorf("%d files of %d", len(got), len(want))
	}
	must(t, Shrink(t.Context(), mnt, 1, least, ShrinkOptions{})) // nothing of the cancelling is left
}

// One operation that moves block groups keeps the others out.
func TestResizeWhileBalancing(t *testing.T) {
	mnt := mountImage(t, newImage(t, 2<<30, MkfsOptions{}))
	fills["snapshots"](t, mnt)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := StartBalance(ctx, mnt, Balance{DataUsage: 100, MetadataUsage: 100})
		done <- err
	}()
	for {
		if p, err := GetBalance(mnt); err == nil && p.Running {
			break
		}
		time.Sleep(time.Millisecond)
	}
	wantErr(t, "resize", Resize(t.Context(), mnt, 1, 1<<30), ErrBusy)
	_, err := StartBalance(t.Context(), mnt, Balance{DataUsage: 100})
	wantErr(t, "a second balance", err, ErrBusy)
	must(t, PauseBalance(mnt))
	wantErr(t, "paused", <-done, ErrPaused)
	if p, err := GetBalance(mnt); err != nil || p.Running {
		t.Errorf("paused: %+v, %v", p, err)
	}
	go func() {
		_, err := ResumeBalance(ctx, mnt)
		done <- err
	}()
	time.Sleep(10 * time.Millisecond)
	cancel()
	wantErr(t, "cancelled", <-done, context.Canceled)
	_, err = GetBalance(mnt)
	wantErr(t, "after the end", err, ErrNoBalance)
	wantErr(t, "cancel", CancelBalance(mnt), ErrNoBalance)
	p, err := StartBalance(t.Context(), mnt, Balance{DataUsage: -1, MetadataUsage: 100})
	must(t, err)
	if p.Completed == 0 || p.Completed != p.Expected {
		t.Errorf("a balance of the metadata: %+v", p)
	}
}

// What is deleted and trimmed is given back by the file.
func TestTrim(t *testing.T) {
	image := newImage(t, 1<<30, MkfsOptions{})
	mnt := mountImage(t, image)
	must(t, CreateSubvolume(mnt+"/v"))
	fillFile(t, mnt+"/v/f", 100<<20)
	must(t, Sync(mnt))
	allocated := func() int64 {
		var st unix.Stat_t
		must(t, unix.Stat(image, &st))
		return st.Blocks * 512
	}
	full := allocated()
	must(t, DeleteSubvolume(mnt+"/v"))
	must(t, WaitDeleted(t.Context(), mnt))
	freed, err := Trim(t.Context(), mnt)
	must(t, err)
	if freed < 100<<20 || full-allocated() < 90<<20 {
		t.Errorf("freed %d: the file had %d bytes and has %d", freed, full, allocated())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Trim(ctx, mnt)
	wantErr(t, "cancelled", err, context.Canceled)
}

func TestShrinkPlan(t *testing.T) {
	const m = 1 << 20
	group := func(logical, length, used, flags uint64, at ...uint64) blockGroup {
		g := blockGroup{logical: logical * m, length: length * m, used: used * m, flags: flags}
		for _, a := range at {
			g.extents = append(g.extents, DevExtent{a * m, length * m})
		}
		return g
	}
	l := layout{reserve: 4 * m, groups: []blockGroup{
		group(1, 8, 1, groupSystem, 1, 9),
		group(20, 100, 50, groupMetadata, 17, 117),
		group(200, 100, 90, groupData, 300),
		group(300, 100, 10, groupData, 900),
	}}
	for _, tt := range []struct {
		size uint64
		want bool
	}{
		{2000, true}, // nothing to move
		{1000, true}, // nothing either
		{999, true},  // 10 MiB of data into the 10 that are free in the other
		{400, true},
		{399, false}, // the long one does not fit anywhere
		{250, false},
		{100, false}, // less than there is
	} {
		if got := l.canShrink(tt.size * m); got != tt.want {
			t.Errorf("to %d MiB: %v", tt.size, got)
		}
	}
	if got := l.holes(1000 * m); got != (300-217+900-400)*m {
		t.Errorf("holes: %d MiB", got/m)
	}
	if got := l.minimum(2000 * m); got > 400*m || got < 256*m {
		t.Errorf("minimum: %d MiB", got/m)
	}
	metadata := func(g blockGroup) bool { return g.metadata() }
	if !l.canMove(800*m, metadata) {
		t.Error("half full metadata would not be moved")
	}
	if l.snapshots = true; l.canMove(800*m, metadata) {
		t.Error("metadata that snapshots share would be moved with no more room than other metadata")
	}
	l.snapshots = false
	l.groups[1].used = 95 * m // metadata with no room left is not moved into nothing
	if l.canMove(420*m, metadata) {
		t.Error("full metadata would be moved where it does not fit")
	}
}

func FuzzParseChunk(f *testing.F) {
	f.Add(make([]byte, 80))
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := parseChunk(data)
		if err == nil && (len(g.extents)*32+48 != len(data) || g.copies() == 0) {
			t.Errorf("%d stripes of %d bytes", len(g.extents), len(data))
		}
	})
}
