package tree

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"poolctl/btrfs"
)

// bulky is an instance of which a few snapshots make a large record.
func bulky() *Instance {
	in := &Instance{Name: "c1", CreatedAt: time.Unix(1e9, 0).UTC(), Config: map[string]string{"user.data": strings.Repeat("what takes room, ", 300)}}
	in.ExpandedConfig = in.Config
	in.normalise()
	return in
}

// manyEntries are entries of count snapshots, s0 and so on, a second apart.
func manyEntries(in *Instance, count int) []entry {
	out := make([]entry, count)
	for i := range out {
		out[i] = entry{Snapshot: in.snapshotOf(fmt.Sprint("s", i), in.CreatedAt.Add(time.Duration(i)*time.Second))}
	}
	return out
}

// TestAppended: a record with one more snapshot is what it would be if all of it was decoded and written.
func TestAppended(t *testing.T) {
	p := newPool(t)
	text := rapid.String()
	rapid.Check(t, func(t *rapid.T) {
		in := bulky()
		in.Description = text.Draw(t, "description")
		in.Config = rapid.MapOfN(text, text, 0, 5).Draw(t, "config")
		in.normalise()
		snaps := manyEntries(in, rapid.IntRange(2, 60).Draw(t, "snapshots"))
		made := &snaps[len(snaps)-1]
		made.Name = "s" + rapid.StringMatching(`[a-z&<"\\ü]{0,9}`).Draw(t, "name")
		snaps[0].Name = "s" + rapid.StringMatching(`[A-Z&<"\\ü]{0,9}`).Draw(t, "first")
		before, err := encoded(document{}, in, snaps[:len(snaps)-1])
		if err != nil {
			t.Fatal(err)
		}
		rec, err := decodeRecord(before, whole)
		if err != nil {
			t.Fatal(err)
		}
		rec.Container.Name = in.Name
		if before, err = encoded(rec.doc, rec.Container, rec.entries); err != nil { // written again, its members are sorted
			t.Fatal(err)
		}
		want, err := encoded(rec.doc, rec.Container, append(rec.entries, *made))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(p.mnt, recordFile)
		_ = os.Remove(file)
		if err = os.WriteFile(file, before, recordMode); err != nil {
			t.Fatal(err)
		}
		old, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = old.Close() }()
		head, ok, err := readHead(old)
		if err != nil || !ok || head.Container.Description != in.Description {
			t.Fatalf("its head: %+v, %v, %v", head, ok, err)
		}
		scan, ok, err := scanRecord(old, int64(len(before)))
		if err != nil || !ok || len(scan.names) != len(snaps)-1 || scan.names[0] != snaps[0].Name {
			t.Fatalf("%+v, %v, %v", scan, ok, err)
		}
		if err := p.writeAppended(p.mnt, old, int64(len(before)), scan, *made); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v: %s", err, cmp.Diff(string(want), string(got)))
		}
	})
}

// TestAppendSnapshot: a snapshot is added to the end of a large record where that is right, and a record that says something else
// than what there is gets right.
func TestAppendSnapshot(t *testing.T) {
	p := newPool(t)
	must(t, importImage(p.Tree, fingerprint))
	ctx := t.Context()
	for name, c := range map[string]struct {
		change   func(t *testing.T, path string)
		appended bool
	}{
		"as it was": {appended: true, change: func(*testing.T, string) {}},
		"one is gone": {change: func(t *testing.T, _ string) {
			must(t, btrfs.DeleteTree(t.Context(), p.snapshotPath("c1", "s3")))
		}},
		"one is not listed": {change: func(t *testing.T, _ string) {
			must(t, btrfs.Snapshot(p.InstancePath("c1"), p.snapshotPath("c1", "other"), true))
		}},
		"one for another": {change: func(t *testing.T, _ string) {
			must(t, btrfs.DeleteTree(t.Context(), p.snapshotPath("c1", "s3")), btrfs.Snapshot(p.InstancePath("c1"), p.snapshotPath("c1", "other"), true))
		}},
		"the last is of tomorrow": {appended: true, change: func(t *testing.T, path string) {
			rewrite(t, p.Tree, path, func(rec *record) {
				last := &rec.entries[len(rec.entries)-1]
				last.CreatedAt, last.changed = time.Now().Add(24*time.Hour).UTC(), true
			})
		}},
		"its head is long": {appended: true, change: func(t *testing.T, path string) {
			rewrite(t, p.Tree, path, func(rec *record) { rec.Container.Config["user.more"] = strings.Repeat("more ", headSize/4) })
		}},
		"one is in one list": {change: func(t *testing.T, path string) {
			edit(t, path, func(raw string) string {
				from, _, _ := strings.Cut(raw, `{"name":"s3"`)
				_, rest, _ := strings.Cut(raw[len(from):], "\n")
				return from + rest
			})
		}},
		"not ours": {change: func(t *testing.T, path string) {
			edit(t, path, func(raw string) string { return "# YAML\n" + raw })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			in := bulky()
			must(t, p.CreateInstance(ctx, *in, fingerprint))
			for i := range 12 {
				must(t, p.CreateSnapshot(ctx, "c1", fmt.Sprint("s", i), SnapshotOptions{}))
			}
			path := p.InstancePath("c1")
			if info, err := os.Stat(filepath.Join(path, recordFile)); err != nil || info.Size() < keptFrom {
				t.Fatalf("the record is small: %v, %v", info, err)
			}
			c.change(t, path)
			names, err := p.snapshotNames("c1", nil)
			must(t, err)
			must(t, btrfs.Snapshot(path, p.snapshotPath("c1", "made"), true))
			in.normalise()
			made := in.snapshotOf("made", time.Now().UTC())
			if done, err := p.appendSnapshot("c1", made); done != c.appended || err != nil {
				t.Errorf("added: %v, %v", done, err)
			}
			must(t, p.syncSnapshots("c1", &made))
			names = append(names, "made")
			slices.Sort(names)
			rec, err := p.readRecord(path, whole)
			must(t, err)
			var listed, ofVolume []string
			for _, e := range rec.entries {
				listed = append(listed, e.Name)
			}
			for _, raw := range rec.doc.lists[sectionVolumeSnapshots] {
				ofVolume = append(ofVolume, entryName(raw))
			}
			slices.Sort(listed)
			slices.Sort(ofVolume)
			if !slices.Equal(listed, names) || !slices.Equal(ofVolume, names) {
				t.Errorf("the record lists %q and %q, there are %q", listed, ofVolume, names)
			}
			rec.Container.Name = "c1"
			again, err := encoded(rec.doc, rec.Container, rec.entries)
			must(t, err)
			if raw, err := os.ReadFile(filepath.Join(path, recordFile)); err != nil || !bytes.Equal(raw, again) {
				t.Errorf("written anew it is another: %v %s", err, cmp.Diff(string(raw), string(again)))
			}
			must(t, p.DeleteInstance(ctx, "c1"))
		})
	}
	must(t, p.DeleteImage(ctx, fingerprint))
	checkEmpty(t, p)
}

// rewrite changes the record of the volume at path.
func rewrite(t *testing.T, tree *Tree, path string, change func(*record)) {
	t.Helper()
	rec, err := tree.readRecord(path, whole)
	must(t, err)
	rec.Container.Name = filepath.Base(path)
	change(&rec)
	must(t, tree.writeRecord(path, rec.doc, rec.Container, rec.entries))
}

// edit changes the text of the record of the volume at path.
func edit(t *testing.T, path string, change func(string) string) {
	t.Helper()
	file := filepath.Join(path, recordFile)
	raw, err := os.ReadFile(file)
	must(t, err)
	must(t, os.Remove(file), os.WriteFile(file, []byte(change(string(raw))), recordMode))
}

// TestAppendToDamaged: no snapshot is made of an instance whose large record is damaged, wherever it is, and one that is there can
// still be deleted.
func TestAppendToDamaged(t *testing.T) {
	for name, damage := range map[string]func(string) string{
		"cut off":    func(raw string) string { return raw[:len(raw)-10] },
		"in an item": func(raw string) string { return strings.Replace(raw, `{"name":"s5"`, `{"name":garbage`, 1) },
		"a line": func(raw string) string {
			return strings.Replace(raw, "\n"+`{"name":"s5"`, "\ngarbage,\n"+`{"name":"s5"`, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			ctx := t.Context()
			must(t, importImage(p.Tree, fingerprint), p.CreateInstance(ctx, *bulky(), fingerprint))
			for i := range 12 {
				must(t, p.CreateSnapshot(ctx, "c1", fmt.Sprint("s", i), SnapshotOptions{}))
			}
			edit(t, p.InstancePath("c1"), damage)
			if err := p.CreateSnapshot(ctx, "c1", "made", SnapshotOptions{}); err == nil || !strings.Contains(err.Error(), "is damaged") {
				t.Error(err)
			}
			must(t, p.DeleteSnapshot(ctx, "c1", "s3"))
			names, err := p.snapshotNames("c1", nil)
			if must(t, err); len(names) != 11 || slices.Contains(names, "made") {
				t.Errorf("there are %q", names)
			}
			must(t, p.DeleteInstance(ctx, "c1"), p.DeleteImage(ctx, fingerprint))
			checkEmpty(t, p)
		})
	}
}

// TestGather: of a record that grows, few extents are shared, since now and then it is written whole; and it stays what it is.
func TestGather(t *testing.T) {
	p := newPool(t)
	file := filepath.Join(p.mnt, recordFile)
	in := bulky()
	before, err := encoded(document{}, in, manyEntries(in, 80))
	must(t, err)
	must(t, writeFileBy(p.mnt, recordFile, len(before), recordMode, btrfs.WriteOut, func(to io.Writer) error {
		_, err := to.Write(before)
		return err
	}))
	gathered := false
	for i := 0; i < 64*gatherOdds && !gathered; i++ {
		old, err := os.Open(file)
		must(t, err)
		info, err := old.Stat()
		must(t, err)
		scattered, err := btrfs.CompressedExtents(old, info.Size())
		must(t, err)
		if i == 0 && scattered <= scatteredExtents {
			t.Fatalf("it has %d extents", scattered)
		}
		gathered = scattered == 0
		if i > 0 { // what is added each time is left out again: it stays the same
			must(t, writeFileBy(p.mnt, recordFile, len(before), recordMode, btrfs.WriteOut, func(to io.Writer) error {
				file, ok := to.(*os.File)
				if !ok {
					t.Fatalf("it is written to %T", to)
				}
				same := sharedUnits(int64(len(before)))
				must(t, shareBeginning(file, old, same))
				_, err := to.Write(before[same:])
				return err
			}))
		}
		must(t, old.Close())
		old, err = os.Open(file)
		must(t, err)
		scan, ok, err := scanRecord(old, int64(len(before)))
		must(t, err)
		if !ok {
			t.Fatal("it cannot be scanned")
		}
		made := entry{Snapshot: in.snapshotOf("made", time.Now().UTC())}
		must(t, p.writeAppended(p.mnt, old, int64(len(before)), scan, made), old.Close())
		want, err := encoded(document{}, in, append(manyEntries(in, 80), made))
		must(t, err)
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes are there, want %d, %v", len(got), len(want), err)
		}
	}
	if !gathered {
		t.Error("it was never written whole")
	}
}

// TestGatherOdds: what is in a few extents is left there, and by far the most snapshots write little.
func TestGatherOdds(t *testing.T) {
	times := 0
	for range 100 * gatherOdds {
		if gatherNow(scatteredExtents) {
			t.Fatal("a record in few extents is written whole")
		}
		if gatherNow(scatteredExtents + 1) {
			times++
		}
	}
	if times < 20 || times > 500 {
		t.Errorf("%d of %d snapshots write a record whole", times, 100*gatherOdds)
	}
}

// FuzzScanRecord: what is scanned is a record in lines, and one that is whole is scanned.
func FuzzScanRecord(f *testing.F) {
	in := bulky()
	raw, err := encoded(document{}, in, manyEntries(in, 3))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[len(raw)/2:])
	f.Add([]byte("{\n\"snapshots\": [\n{\"name\":\"a\"}\n],\n\"volume_snapshots\": [\n{\"name\":\"a\"}\n]\n}\n"))
	f.Add([]byte("{\n\"a\": 1,\n\"snapshots\": [\n{\"name\":\"\\u0061\"}\n],\n\"volume_snapshots\": [\n{\"name\":\"a\"}\n]\n}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(t.TempDir(), "record")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		scan, ok, err := scanRecord(file, int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		d, lines := parseLines(raw)
		if !ok {
			if rec, err := decodeRecord(raw, whole); err == nil {
				again, err := encoded(rec.doc, rec.Container, rec.entries)
				if err == nil && bytes.Equal(again, raw) && len(rec.entries) > 0 {
					t.Fatalf("%q is not scanned", raw)
				}
			}
			return
		}
		if !lines { // a member before them is damaged, which is seen when it is read
			return
		}
		snapshots, volumes := d.lists[sectionSnapshots], d.lists[sectionVolumeSnapshots]
		if len(snapshots) != len(scan.names) || len(volumes) != len(scan.names) {
			t.Fatalf("%q: %d and %d snapshots, scanned: %q", raw, len(snapshots), len(volumes), scan.names)
		}
		if !bytes.HasSuffix(raw[:scan.snapshotsEnd], snapshots[len(snapshots)-1]) || !bytes.HasSuffix(raw[:scan.volumesEnd], volumes[len(volumes)-1]) {
			t.Fatalf("%q: the lists do not end at %d and %d", raw, scan.snapshotsEnd, scan.volumesEnd)
		}
	})
}
