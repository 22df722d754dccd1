package pool

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
)

// loseFrozen has what a backup is made of be where it cannot be measured any more. Its send
// streams can be made: those go by ids.
func loseFrozen(b *backupSource) {
	for i := range b.frozen.Versions {
		b.frozen.Versions[i].Path = "/nonexistent"
	}
}

// TestExportWithoutTotal: an export whose size cannot be found out is made all the same, and
// what is reported of it has no total.
func TestExportWithoutTotal(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	createVolume(t, s, "p", "v", nil)
	var seen []Progress
	x := s.exportingVolume(ExportVolumeOptions{BackupOptions{Optimized: true, Progress: func(p Progress) { seen = append(seen, p) }}, "p", "v"})
	open := x.open
	x.open = func(ctx context.Context, o BackupOptions) (*backupSource, error) {
		b, err := open(ctx, o)
		if err == nil {
			loseFrozen(b)
		}
		return b, err
	}
	var out bytes.Buffer
	ok(t, s.export(t.Context(), x, &out))
	if len(seen) < 2 || seen[0].Total != 0 {
		t.Errorf("there was reported: %+v", seen)
	}
	_, err := s.ImportVolume(t.Context(), ImportVolumeOptions{Pool: "p", Name: "again"}, &out)
	ok(t, err)
}

// TestExportMeasuresOnce: what is asked to see whether a backup fits also says how much of it
// there is to report.
func TestExportMeasuresOnce(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	createVolume(t, s, "p", "v", nil)
	for _, o := range []BackupOptions{{}, {Optimized: true}} {
		o.Progress = func(Progress) {}
		x := s.exportingVolume(ExportVolumeOptions{o, "p", "v"})
		b, err := x.open(t.Context(), o)
		ok(t, err, s.checkBackupRoom(t.Context(), b, o, filepath.Join(t.TempDir(), "b")))
		loseFrozen(b)
		if n, err := b.expected(t.Context()); n == 0 || err != nil {
			t.Errorf("optimized %v: %d bytes are expected, %v", o.Optimized, n, err)
		}
		ok(t, b.close())
	}
}
