package pool

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"poolctl/pool/tree"
)

// TestWrongKinds: what a command does not take, and another one does, is refused with
// that one's name; progress is told under the name that the instance is to have.
func TestWrongKinds(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	_, err := s.Create(ctx, CreateOptions{Name: "c1", Template: EmptyTemplate, Pool: "p"})
	ok(t, err)
	_, err = s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s1"})
	ok(t, err)
	for what, err := range map[string]error{
		"file":   s.ExportFile(ctx, ExportOptions{Instance: "c1/s1"}, t.TempDir()+"/none/f", false),
		"stream": s.Export(ctx, ExportOptions{Instance: "c1/s1"}, &bytes.Buffer{}),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "cannot export c1/s1: ") || !strings.Contains(hint(err), "poolctl copy c1/s1 NEW") {
			t.Errorf("a backup of a snapshot to a %s: %v; hint %q", what, err, hint(err))
		}
	}
	sent := sendOf(t, s, SendOptions{Instance: "c1"})
	if _, err := s.Import(ctx, ImportOptions{Name: "c2", Pool: "p"}, bytes.NewReader(sent)); err == nil || !strings.Contains(hint(err), "poolctl receive") {
		t.Errorf("imported what was sent: %v; hint %q", err, hint(err))
	}
	for content, want := range map[string]string{"": "it is empty", "hello": "it is no backup: it is no tar archive"} {
		if _, err := s.Import(ctx, ImportOptions{Name: "c2", Pool: "p"}, strings.NewReader(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("imported %q: %v", content, err)
		}
	}
	var backup bytes.Buffer
	ok(t, s.Export(ctx, ExportOptions{Instance: "c1"}, &backup))
	seen := map[string]bool{}
	see := func(p Progress) { seen[p.Name] = true }
	_, err = s.Import(ctx, ImportOptions{Name: "c2", Pool: "p", Progress: see}, &backup)
	ok(t, err)
	_, err = s.Receive(ctx, ReceiveOptions{Name: "c3", Pool: "p", Progress: see}, bytes.NewReader(sent))
	if ok(t, err); len(seen) != 2 || !seen["c2"] || !seen["c3"] {
		t.Errorf("progress is told of %v", seen)
	}
	_, err = s.Receive(ctx, ReceiveOptions{Name: "c4", Pool: "p"}, bytes.NewReader(append(sent, "junk\n"...)))
	if err == nil || err.Error() != `cannot receive "c4": something follows its end` {
		t.Errorf("with something behind its end: %v", err)
	}
	ok(t, s.TrashInstance(ctx, "c1", false))
	for _, name := range []string{"a_b", "x/y"} {
		_, err := s.Undelete(ctx, UndeleteOptions{Name: "c1", NewName: name})
		if !errors.Is(err, tree.ErrInvalidName) || !strings.HasSuffix(err.Error(), `: only letters, digits and "-" are allowed`) {
			t.Errorf("undeleted as %s: %v", name, err)
		}
	}
}
