package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"poolctl/images"
)

// Template is one kind of root filesystem.
type Template struct {
	// Metadata is what its metadata.yaml says: the architecture is the caller's.
	Metadata images.Metadata
	// Need is about how much it takes, in bytes.
	Need int64

	fill func(*tree) error
}

// openers are the templates by name.
func openers() map[string]func(context.Context) (*Template, error) {
	return map[string]func(context.Context) (*Template, error){"busybox": openBusybox, "none": openNone}
}

// ErrUnknown is the error of Open for a name that is no template's.
var ErrUnknown = errors.New("no such template")

// Names lists the templates.
func Names() []string {
	var out []string
	for name := range openers() {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Open finds what the template of that name is made of on this host. It fails,
// with a Hint, when that is not there.
func Open(ctx context.Context, name string) (*Template, error) {
	open, ok := openers()[name]
	if !ok {
		return nil, fmt.Errorf("template %q: %w", name, ErrUnknown)
	}
	return open(ctx)
}

// Fill writes the volume into dir, which is an empty directory of the caller's.
// After an error what it holds is incomplete. Owner of all is the caller.
func (t *Template) Fill(ctx context.Context, dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	w := &tree{ctx: ctx, root: root}
	defer func() { err = errors.Join(err, root.Close()) }()
	metadata, err := t.Metadata.Encode()
	if err != nil {
		return err
	}
	w.file("metadata.yaml", 0o644, metadata)
	w.dir("templates", 0o755)
	w.dir("rootfs", 0o755)
	for _, m := range t.Metadata.Templates {
		w.file("templates/"+m.Template, 0o644, []byte(hostnameTemplate))
	}
	if w.err != nil {
		return w.err
	}
	w.top = "rootfs"
	return errors.Join(t.fill(w), w.err)
}

// tree writes files below a directory, in order, until one fails.
type tree struct {
	ctx  context.Context
	root *os.Root
	top  string // what the names are relative to
	err  error
}

// do makes one entry, and gives it its mode whatever the umask is.
func (t *tree) do(name string, mode fs.FileMode, make func(name string) error) {
	if t.err == nil {
		t.err = t.ctx.Err()
	}
	if t.err != nil {
		return
	}
	name = path.Join(t.top, name)
	if t.err = make(name); t.err == nil && mode != 0 {
		t.err = t.root.Chmod(name, mode)
	}
}

func (t *tree) dir(name string, mode fs.FileMode) {
	t.do(name, mode, func(name string) error {
		err := t.root.Mkdir(name, 0o700)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	})
}

func (t *tree) file(name string, mode fs.FileMode, data []byte) {
	t.do(name, mode, func(name string) error { return t.root.WriteFile(name, data, 0o600) })
}

// link makes a symbolic link, unless something is there.
func (t *tree) link(name, target string) {
	t.do(name, 0, func(name string) error {
		err := t.root.Symlink(target, name)
		if errors.Is(err, unix.EEXIST) {
			return nil
		}
		return err
	})
}
