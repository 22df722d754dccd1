package images

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/images/template"
)

// TemplateInstance is what an image's templates can know of an instance.
type TemplateInstance struct {
	Name, Type, Architecture string
	Ephemeral, Privileged    bool
	Config                   map[string]string // expanded
	Devices                  map[string]map[string]string
	Properties               map[string]string // the image's; a template's own come on top
	// Rootfs is where the files are written; "" is the volume's rootfs. It is
	// another view of that, with the ids of the instance, where those on disk are
	// shifted.
	Rootfs string
}

// ApplyTemplates renders the templates of metadata.yaml that are for the trigger
// (create, copy, rename or start) into volume/rootfs, or inst.Rootfs. volume holds metadata.yaml,
// templates/ and rootfs/ of an instance that is not running.
//
// The files are written one after the other in the order of their paths, each
// atomically (a temporary file, renamed). Symbolic links in the root lead where
// they lead inside of it, never outside; missing directories are made. A new file
// is root's, 0644; an existing one keeps owner, mode and extended attributes;
// uid, gid and mode of the template override both. The error names the template.
func ApplyTemplates(ctx context.Context, volume, trigger string, inst TemplateInstance) error {
	m, err := ReadMetadata(volume)
	if err != nil {
		return err
	}
	due := map[string]*Template{}
	for path, t := range m.Templates {
		if slices.Contains(t.When, trigger) {
			due[path] = t
		}
	}
	if len(due) == 0 {
		return nil
	}
	a, err := openApplier(volume, trigger, &inst)
	if err != nil {
		return fmt.Errorf("cannot apply image templates: %w", err)
	}
	defer a.close()
	for _, path := range slices.Sorted(maps.Keys(due)) {
		if err := a.apply(ctx, path, due[path]); err != nil {
			return fmt.Errorf("cannot apply image template %.256q to %.256q: %w", due[path].Template, path, err)
		}
	}
	return nil
}

type applier struct {
	templates *os.File
	root      *os.File
	trigger   string
	inst      *TemplateInstance
}

func openApplier(volume, trigger string, inst *TemplateInstance) (*applier, error) {
	vol, err := os.OpenFile(volume, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = vol.Close() }()
	a := &applier{trigger: trigger, inst: inst}
	if a.templates, err = openDirAt(vol, templatesDir); err != nil {
		return nil, err
	}
	if inst.Rootfs != "" {
		a.root, err = os.OpenFile(inst.Rootfs, os.O_RDONLY|unix.O_DIRECTORY, 0)
	} else {
		a.root, err = openDirAt(vol, rootfsDir)
	}
	if err != nil {
		return nil, errors.Join(err, a.templates.Close())
	}
	return a, nil
}

// openDirAt opens a directory in dir, which must not be a symbolic link.
func openDirAt(dir *os.File, name string) (*os.File, error) {
	path := dir.Name() + "/" + name
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (a *applier) close() {
	_ = a.templates.Close()
	_ = a.root.Close()
}

func (a *applier) apply(ctx context.Context, path string, t *Template) error {
	attrs, err := t.attributes()
	if err != nil {
		return err
	}
	if err := validTemplateName(t.Template); err != nil {
		return err
	}
	to, err := resolveTarget(a.root, path)
	if err != nil {
		return err
	}
	defer to.close()
	if to.exists && t.CreateOnly {
		return nil
	}
	source, err := readFileAt(a.templates, t.Template, template.MaxSource)
	if err != nil {
		return err
	}
	out, err := template.Render(ctx, source, a.data(path, t))
	if err != nil {
		return err
	}
	return to.write(out, attrs)
}

// validTemplateName: a bare file name; anything else could name a file that is
// not the image's.
func validTemplateName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > unix.NAME_MAX || strings.ContainsAny(name, "/\x00") {
		return errors.New("the template's name is not a plain file name")
	}
	return nil
}

func (a *applier) data(path string, t *Template) template.Data {
	properties := maps.Clone(a.inst.Properties)
	if properties == nil {
		properties = map[string]string{}
	}
	maps.Copy(properties, t.Properties)
	return template.Data{
		Trigger: a.trigger, Path: path, Config: a.inst.Config, Devices: a.inst.Devices, Properties: properties,
		Instance: map[string]string{
			"name":         a.inst.Name,
			"type":         a.inst.Type,
			"architecture": a.inst.Architecture,
			"ephemeral":    strconv.FormatBool(a.inst.Ephemeral),
			"privileged":   strconv.FormatBool(a.inst.Privileged),
		},
	}
}

// attributes are a template's uid, gid and mode; -1 = not given.
type attributes struct{ uid, gid, mode int }

func (t *Template) attributes() (attributes, error) {
	a := attributes{-1, -1, -1}
	for _, f := range []struct {
		name, text string
		base       int
		limit      uint64
		to         *int
	}{
		{"uid", t.UID, 10, 1<<32 - 2, &a.uid},
		{"gid", t.GID, 10, 1<<32 - 2, &a.gid},
		{"mode", t.Mode, 8, 0o7777, &a.mode},
	} {
		if f.text == "" {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimPrefix(f.text, "0o"), f.base, 33)
		if err != nil || n > f.limit {
			return a, fmt.Errorf("its %s %.64q is invalid", f.name, f.text)
		}
		*f.to = int(n)
	}
	return a, nil
}
