package delta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// versions are an old file, a new one that is much like it, and a delta made by
// the real program.
func versions(t *testing.T) (dir string, want Target) {
	t.Helper()
	dir = t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	old := make([]byte, 3<<20)
	for i := range old {
		old[i] = byte(r.Uint32())
	}
	made := append([]byte("something new before"), old...)
	copy(made[1<<20:], "and in the middle")
	for name, b := range map[string][]byte{"old": old, "new": made} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("xdelta3", "-e", "-s", "old", "new", "delta")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sum := sha256.Sum256(made)
	return dir, Target{int64(len(made)), hex.EncodeToString(sum[:])}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestApply(t *testing.T) {
	dir, want := versions(t)
	t.Setenv("XDELTA", "-e") // must not be heeded
	var out bytes.Buffer
	if err := Apply(t.Context(), open(t, dir+"/old"), open(t, dir+"/delta"), &out, want); err != nil {
		t.Fatal(err)
	}
	if made, err := os.ReadFile(dir + "/new"); err != nil || !bytes.Equal(made, out.Bytes()) {
		t.Errorf("something else came out: %v", err)
	}
}

func TestApplyRefuses(t *testing.T) {
	dir, want := versions(t)
	delta, err := os.ReadFile(dir + "/delta")
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the connection broke")
	mismatch := &MismatchError{}
	damaged := bytes.Clone(delta)
	damaged[len(damaged)/2] ^= 0xff
	for name, tc := range map[string]struct {
		old   string
		delta io.Reader
		want  Target
		is    func(error) bool
	}{
		"another old file": {"new", bytes.NewReader(delta), want, func(err error) bool { return err != nil }},
		"damaged":          {"old", bytes.NewReader(damaged), want, func(err error) bool { return err != nil }},
		"cut short":        {"old", bytes.NewReader(delta[:len(delta)/2]), want, func(err error) bool { return err != nil }},
		"no delta at all":  {"old", strings.NewReader("<html>"), want, func(err error) bool { return err != nil }},
		"empty":            {"old", strings.NewReader(""), want, func(err error) bool { return err != nil }},
		"broken":           {"old", io.MultiReader(bytes.NewReader(delta[:10]), failing{broken}), want, func(err error) bool { return errors.Is(err, broken) }},
		"another hash":     {"old", bytes.NewReader(delta), Target{want.Size, strings.Repeat("0", 64)}, func(err error) bool { return errors.As(err, &mismatch) }},
		"too long":         {"old", bytes.NewReader(delta), Target{want.Size - 1, want.SHA256}, func(err error) bool { return errors.As(err, &mismatch) }},
		"too short":        {"old", bytes.NewReader(delta), Target{want.Size + 1, want.SHA256}, func(err error) bool { return errors.As(err, &mismatch) }},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := Apply(t.Context(), open(t, filepath.Join(dir, tc.old)), tc.delta, &out, tc.want)
			if !tc.is(err) {
				t.Errorf("%v", err)
			}
			t.Log(err)
			if int64(out.Len()) > tc.want.Size+1 {
				t.Errorf("%d bytes were written", out.Len())
			}
		})
	}
	t.Run("full", func(t *testing.T) {
		full := open(t, "/dev/null") // opened for reading
		if err := Apply(t.Context(), open(t, dir+"/old"), bytes.NewReader(delta), full, want); err == nil {
			t.Error("it was written into what cannot be written to")
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe() // gives nothing
		defer func() { _ = w.Close() }()
		cancel()
		if err := Apply(ctx, open(t, dir+"/old"), r, io.Discard, want); err == nil {
			t.Error("it came to an end")
		}
	})
	t.Run("no program", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if Available() {
			t.Error("the program is there")
		}
		if err := Apply(t.Context(), open(t, dir+"/old"), bytes.NewReader(delta), io.Discard, want); !errors.Is(err, ErrNoProgram) {
			t.Errorf("%v", err)
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
