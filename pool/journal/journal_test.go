package journal

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type args struct {
	Name string
	N    int
}

func mustBegin(t *testing.T, dir string, a args) *Entry {
	t.Helper()
	e, err := Begin(t.Context(), dir, "op", a)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	names, err := readNames(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

// collect returns handlers that record what they are given.
func collect(got *[]args) map[string]Handler {
	return map[string]Handler{"op": func(_ context.Context, e *Entry) error {
		var a args
		err := e.Args(&a)
		*got = append(*got, a)
		return err
	}}
}

func TestHeldEntryIsLeftAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "journal")
	e := mustBegin(t, dir, args{"x", 1})
	var got []args
	if err := Recover(t.Context(), dir, collect(&got)); err != nil || len(got) != 0 {
		t.Fatalf("Recover of a held entry: %v, %v", got, err)
	}
	if err := e.Done(); err != nil {
		t.Fatal(err)
	}
	if left := entries(t, dir); len(left) != 0 {
		t.Fatalf("left: %v", left)
	}
}

func TestLostEntryIsRecovered(t *testing.T) {
	dir := t.TempDir()
	e := mustBegin(t, dir, args{"x", 1})
	if err := e.Update(args{"y", 2}); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var got []args
	if err := Recover(t.Context(), dir, collect(&got)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]args{{"y", 2}}, got); diff != "" {
		t.Fatal(diff)
	}
	if left := entries(t, dir); len(left) != 0 {
		t.Fatalf("left: %v", left)
	}
}

// TestFailedHandlerKeepsTheEntry checks that an entry survives what cannot be recovered, and the others do not wait.
func TestFailedHandlerKeepsTheEntry(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"good", "bad"} {
		if err := mustBegin(t, dir, args{Name: name}).Close(); err != nil {
			t.Fatal(err)
		}
	}
	broken := errors.New("broken")
	err := Recover(t.Context(), dir, map[string]Handler{"op": func(_ context.Context, e *Entry) error {
		var a args
		if err := e.Args(&a); err != nil {
			return err
		}
		if a.Name == "bad" {
			return broken
		}
		return nil
	}})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	var got []args
	if err := Recover(t.Context(), dir, collect(&got)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]args{{Name: "bad"}}, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestUnknownOperationStays(t *testing.T) {
	dir := t.TempDir()
	if err := mustBegin(t, dir, args{}).Close(); err != nil {
		t.Fatal(err)
	}
	if err := Recover(t.Context(), dir, nil); err == nil {
		t.Fatal("no error for an operation that nobody knows")
	}
	if left := entries(t, dir); len(left) != 1 {
		t.Fatalf("left: %v", left)
	}
}

// TestTornIntents makes what a kill or a power cut leaves of an entry.
func TestTornIntents(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "torn": `{"op":"o`, "zeros": "\x00\x00\x00", "none": "-"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if content != "-" {
			if err := os.WriteFile(filepath.Join(dir, name, intentFile), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Mkdir(filepath.Join(dir, newPrefix+"1"), 0o700); err != nil {
		t.Fatal(err)
	}
	unknown := 0
	err := Recover(t.Context(), dir, map[string]Handler{"": func(_ context.Context, e *Entry) error {
		unknown++
		if e.Op() != "" {
			t.Errorf("op %q", e.Op())
		}
		return nil
	}})
	if err != nil || unknown != 4 {
		t.Fatalf("%d handled, %v", unknown, err)
	}
	if left := entries(t, dir); len(left) != 0 {
		t.Fatalf("left: %v", left)
	}
}

// TestDoneRefusesLeftovers checks that staged content is never forgotten.
func TestDoneRefusesLeftovers(t *testing.T) {
	dir := t.TempDir()
	e := mustBegin(t, dir, args{})
	if err := os.WriteFile(e.Path("staged"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.Done(); err == nil {
		t.Fatal("Done removed what was staged")
	}
	if _, err := os.Stat(e.Path("staged")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(e.Path(intentFile)); err != nil {
		t.Fatal(err)
	}
	err := Recover(t.Context(), dir, map[string]Handler{"op": func(_ context.Context, e *Entry) error { return os.Remove(e.Path("staged")) }})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRace runs Begin/Done against Recover: no entry that is held may be handled, none may be lost.
func TestRace(t *testing.T) {
	dir := t.TempDir()
	stop := make(chan struct{})
	var recoverers, owners sync.WaitGroup
	for range 2 {
		recoverers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := Recover(context.Background(), dir, map[string]Handler{
					"op": func(context.Context, *Entry) error { t.Error("a held entry was recovered"); return nil },
					"":   func(context.Context, *Entry) error { t.Error("a held entry was torn"); return nil },
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		owners.Go(func() {
			for range 500 {
				e, err := BeginUnsynced(context.Background(), dir, "op", nil)
				if err != nil {
					t.Error(err)
					return
				}
				if err := e.Done(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	owners.Wait()
	close(stop)
	recoverers.Wait()
	if left := entries(t, dir); len(left) != 0 {
		t.Fatalf("left: %v", left)
	}
}

func TestBeginRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Begin(t.Context(), dir, "", nil); err == nil {
		t.Error("no operation was accepted")
	}
	if _, err := Begin(t.Context(), dir, "op", func() {}); err == nil {
		t.Error("arguments that JSON cannot hold were accepted")
	}
	if _, err := Begin(t.Context(), dir, "op", make([]byte, maxIntent)); err == nil {
		t.Error("an intent over the limit was accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Begin(ctx, dir, "op", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled Begin: %v", err)
	}
	if left := entries(t, dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func FuzzParseIntent(f *testing.F) {
	f.Add([]byte(`{"op":"x","args":{"a":1}}`))
	f.Add([]byte(`{"op":1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := parseIntent(raw)
		if in.Op == "" {
			return
		}
		again, err := encode(in.Op, in.Args)
		if err == nil && parseIntent(again.raw).Op != in.Op {
			t.Errorf("%q does not survive: %q", in.Op, again.raw)
		}
	})
}
