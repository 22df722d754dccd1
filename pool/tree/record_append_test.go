package tree

import (
	"bytes"
	"errors"
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

// TestAppended: a record with one more snapshot is what it would be if all of it was read and written.
func TestAppended(t *testing.T) {
	dir := t.TempDir()
	text := rapid.String()
	rapid.Check(t, func(t *rapid.T) {
		in := bulky()
		in.Description = text.Draw(t, "description")
		in.Config = rapid.MapOfN(text, text, 0, 5).Draw(t, "config")
		in.normalise()
		snaps := manyEntries(in, rapid.IntRange(2, 40).Draw(t, "snapshots"))
		snaps[len(snaps)-1].Name = "s" + rapid.StringMatching("[a-z]{0,9}").Draw(t, "name")
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
		path := filepath.Join(dir, "record")
		f, err := os.Create(path)
		if err == nil {
			_, err = f.Write(before)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		head, ok, err := readHead(f)
		if err != nil || !ok || head.Container.Description != in.Description {
			t.Fatalf("its head: %+v, %v, %v", head, ok, err)
		}
		end, ok, err := readEnd(f, int64(len(before)))
		if err != nil || !ok || len(end.names) != len(snaps)-1 || end.names[0] != "s0" || end.from > sharedUnits(end.appendAt()) {
			t.Fatalf("its end: %+v, %v, %v", end, ok, err)
		}
		want, err := encoded(rec.doc, rec.Container, append(rec.entries, snaps[len(snaps)-1]))
		if err != nil {
			t.Fatal(err)
		}
		made := snaps[len(snaps)-1]
		snapshot, err := made.encode()
		volumes, verr := volumeSnapshots([]entry{made}, nil)
		if err = errors.Join(err, verr); err != nil {
			t.Fatal(err)
		}
		for _, begin := range []int64{0, end.from, sharedUnits(end.appendAt())} {
			var got bytes.Buffer
			if err := end.write(&got, f, begin, end.with(snapshot, volumes[0])); err != nil || !bytes.Equal(got.Bytes(), want[begin:]) {
				t.Fatalf("from %d on, %v: %s", begin, err, cmp.Diff(string(want[begin:]), got.String()))
			}
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
		"the last is of tomorrow": {change: func(t *testing.T, path string) {
			rec, err := p.readRecord(path, whole)
			must(t, err)
			last := &rec.entries[len(rec.entries)-1]
			last.CreatedAt, last.changed = time.Now().Add(24*time.Hour).UTC(), true
			rec.Container.Name = "c1"
			must(t, p.writeRecord(path, rec.doc, rec.Container, rec.entries))
		}},
		"not ours": {change: func(t *testing.T, path string) {
			file := filepath.Join(path, recordFile)
			raw, err := os.ReadFile(file)
			must(t, err)
			must(t, os.Remove(file), os.WriteFile(file, append([]byte("# YAML\n"), raw...), recordMode))
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
				ofVolume = append(ofVolume, volumeSnapshotName(raw))
			}
			if !slices.IsSortedFunc(rec.entries, func(a, b entry) int { return a.CreatedAt.Compare(b.CreatedAt) }) {
				t.Errorf("they are not sorted: %q", listed)
			}
			slices.Sort(listed)
			slices.Sort(ofVolume)
			if !slices.Equal(listed, names) || !slices.Equal(ofVolume, names) {
				t.Errorf("the record lists %q and %q, there are %q", listed, ofVolume, names)
			}
			must(t, p.DeleteInstance(ctx, "c1"))
		})
	}
	must(t, p.DeleteImage(ctx, fingerprint))
	checkEmpty(t, p)
}

// TestAppendToDamaged: no snapshot is made of an instance whose large record is damaged further on than what is read for it, and one
// that is there can still be deleted.
func TestAppendToDamaged(t *testing.T) {
	p := newPool(t)
	ctx := t.Context()
	must(t, importImage(p.Tree, fingerprint), p.CreateInstance(ctx, *bulky(), fingerprint))
	for i := range 12 {
		must(t, p.CreateSnapshot(ctx, "c1", fmt.Sprint("s", i), SnapshotOptions{}))
	}
	file := filepath.Join(p.InstancePath("c1"), recordFile)
	info, err := os.Stat(file)
	must(t, err)
	must(t, os.Truncate(file, info.Size()-10))
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
		end, ok, err := readEnd(old, info.Size())
		must(t, err)
		if !ok {
			t.Fatal("its end cannot be read")
		}
		if i > 0 { // what is added each time is left out again: it stays the same
			must(t, writeFileBy(p.mnt, recordFile, len(before), recordMode, btrfs.WriteOut, func(to io.Writer) error {
				file, ok := to.(*os.File)
				if !ok {
					t.Fatalf("it is written to %T", to)
				}
				must(t, shareBeginning(file, old, sharedUnits(end.appendAt())))
				_, err := to.Write(before[sharedUnits(end.appendAt()):])
				return err
			}))
		}
		must(t, old.Close())
		old, err = os.Open(file)
		must(t, err)
		end, ok, err = readEnd(old, int64(len(before)))
		must(t, err)
		if !ok {
			t.Fatal("its end cannot be read")
		}
		made := entry{Snapshot: in.snapshotOf("made", time.Now().UTC())}
		must(t, p.writeAppended(p.mnt, old, &end, made), old.Close())
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

// FuzzRecordEnd: a text that is taken for the end of a record is still one with a snapshot more.
func FuzzRecordEnd(f *testing.F) {
	in := bulky()
	raw, err := encoded(document{}, in, manyEntries(in, 3))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[len(raw)/2:])
	f.Add([]byte("{}\n],\n\"volume_snapshots\": [\n{}\n]\n}\n"))
	f.Add([]byte("{\n\"snapshots\": [\n{}\n],\n\"volume_snapshots\": [\n{},\n{\"name\":\"\\u0000\"}\n]\n}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		end := recordEnd{text: raw}
		if !end.parse() {
			return
		}
		end.precedes(manyEntries(in, 1)[0].Snapshot)
		one := recordEnd{text: end.with([]byte(`{"name":"made"}`), []byte(`{"name":"made"}`))}
		if !one.parse() || string(one.last) != `{"name":"made"}` || len(one.names) != len(end.names)+1 || one.names[len(end.names)] != "made" {
			t.Fatalf("%q became %q: %+v", raw, one.text, one)
		}
		if d, ok := parseLines(raw); ok && len(d.lists[sectionSnapshots]) > 0 {
			list := d.lists[sectionSnapshots]
			if string(list[len(list)-1]) != string(end.last) || len(d.lists[sectionVolumeSnapshots]) != len(end.names) {
				t.Fatalf("%q: the last is %q, and there are %q", raw, end.last, end.names)
			}
			if d, ok = parseLines(one.text); !ok || len(d.lists[sectionSnapshots]) != len(list)+1 {
				t.Fatalf("%q is no record any more: %q", raw, one.text)
			}
		}
	})
}
