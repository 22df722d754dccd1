package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"poolctl/pool/tree"
)

// Inspection is what `pool inspect` finds in a file or on a block device.
type Inspection struct {
	File string `json:"file" yaml:"file"` // its absolute path
	// Pool is the name of the pool that it is here already; "" when it is none.
	Pool string `json:"pool,omitempty" yaml:"pool,omitempty"`
	// Origin is who laid it out: "poolctl", "lxd", "incus", or "lxd or incus"
	// where nothing in it tells.
	Origin string `json:"origin" yaml:"origin"`
	// Name is what it calls itself: the name that it is adopted by.
	Name string `json:"name" yaml:"name"`
	// Label and UUID are the file system's.
	Label string `json:"label" yaml:"label"`
	UUID  string `json:"uuid" yaml:"uuid"`
	// Size is that of the file or device, Used what the file system uses of it, in bytes.
	Size int64 `json:"size" yaml:"size"`
	Used int64 `json:"used" yaml:"used"`
	// Log says that it was not unmounted, and that what was written last is only in
	// its log, which is replayed when it is attached: a look does not show it.
	Log       bool              `json:"log" yaml:"log"`
	Config    map[string]string `json:"config" yaml:"config"` // the pool's own
	Instances []Instance        `json:"instances" yaml:"instances"`
	Images    []Image           `json:"images" yaml:"images"`
	Volumes   []InspectedVolume `json:"volumes" yaml:"volumes"`
	// Leftovers are what killed operations of LXD or Incus left; they are ignored.
	Leftovers []string `json:"leftovers" yaml:"leftovers"`
}

// InspectedVolume is a custom volume in an Inspection.
type InspectedVolume struct {
	Name        string     `json:"name" yaml:"name"`
	Project     string     `json:"project" yaml:"project"`
	Description string     `json:"description" yaml:"description"`
	CreatedAt   time.Time  `json:"created_at" yaml:"created_at"`
	Snapshots   []Snapshot `json:"snapshots" yaml:"snapshots"`
}

// typeMachine is the type of a virtual machine, which is listed and not run.
const typeMachine = "virtual-machine"

// Inspect lists what is in a pool's file, or on its block device, without
// changing a byte of it and without adopting it.
func (s *System) Inspect(ctx context.Context, path string) (_ Inspection, err error) {
	u, err := s.openUntouched(ctx, path)
	if err != nil {
		return Inspection{}, fmt.Errorf("cannot inspect %s: %w", pathName(path), err)
	}
	defer func() { err = errors.Join(err, u.close()) }()
	out, err := u.inspect(ctx)
	if err != nil {
		return Inspection{}, fmt.Errorf("cannot inspect %s: %w", pathName(path), err)
	}
	if out.Log {
		s.noticef("%s was not unmounted: what was written to it last is in its log, which is replayed when it is attached, and not shown here", path)
	}
	return out, nil
}

func (u *untouched) inspect(ctx context.Context) (Inspection, error) {
	out := Inspection{
		File: u.rec.Source, Label: u.super.Label, UUID: u.super.UUID, Size: u.size,
		Used: int64(u.super.BytesUsed), Log: u.super.LogRoot != 0 && u.root != nil, //nolint:gosec // less than the size
		Instances: []Instance{}, Images: []Image{}, Volumes: []InspectedVolume{}, Leftovers: []string{},
	}
	if u.own != nil {
		out.Pool = u.own.Name
	}
	about, err := aboutPool(ctx, u.Tree, u.super.Label)
	if err != nil {
		return out, err
	}
	out.Name, out.Origin, out.Config = about.name, about.origin, about.config
	for _, rec := range about.instances {
		in := publicInstance(rec, about.name)
		for _, sn := range rec.Snapshots {
			in.Snapshots = append(in.Snapshots, publicSnapshot(sn))
		}
		out.Instances = append(out.Instances, in)
	}
	for _, m := range about.survey.Machines {
		in := Instance{Name: m.Name, Type: typeMachine, Status: "Stopped", Pool: about.name, CreatedAt: m.CreatedAt, Problem: "virtual machines do not run here"}
		for _, sn := range m.Snapshots {
			in.Snapshots = append(in.Snapshots, publicSnapshot(sn))
		}
		out.Instances = append(out.Instances, in)
	}
	recs, err := u.Images()
	if err != nil {
		return out, err
	}
	for _, r := range recs {
		out.Images = append(out.Images, publicImage(r, about.name))
	}
	for _, v := range about.volumes {
		out.Volumes = append(out.Volumes, inspectedVolume(v))
	}
	out.Leftovers = append(out.Leftovers, about.survey.Leftovers...)
	return out, ctx.Err()
}

func inspectedVolume(v tree.Volume) InspectedVolume {
	out := InspectedVolume{Name: v.Name, Project: v.Project, Description: v.Description, CreatedAt: v.CreatedAt, Snapshots: []Snapshot{}}
	for _, sn := range v.Snapshots {
		out.Snapshots = append(out.Snapshots, Snapshot{Name: sn.Name, CreatedAt: sn.CreatedAt, ExpiresAt: sn.ExpiresAt})
	}
	return out
}

// about is what a pool says of itself, and what it holds.
type about struct {
	name, origin, description string
	config                    map[string]string
	createdAt                 time.Time
	// instances are whole records, with pool and profiles.
	instances []tree.Instance
	volumes   []tree.Volume
	survey    tree.Survey
}

// aboutPool asks a pool for its name and its configuration: its own record has
// them, or what LXD and Incus note of the pool with every instance. The label,
// which is the name that the pool was made by, is the last resort.
func aboutPool(ctx context.Context, t *tree.Tree, label string) (about, error) {
	out := about{name: label, config: map[string]string{}}
	var err error
	if out.survey, err = t.Survey(); err != nil {
		return out, err
	}
	if out.volumes, err = t.Volumes(ctx); err != nil {
		return out, err
	}
	listed, err := t.Instances(ctx)
	if err != nil {
		return out, err
	}
	var noted *tree.PoolInfo
	for _, in := range listed {
		rec, err := t.Instance(in.Name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted just now
		} else if err != nil {
			return out, err
		}
		out.instances = append(out.instances, rec)
		if rec.Pool != nil {
			noted = rec.Pool
		}
	}
	if noted != nil {
		if noted.Name != "" {
			out.name = noted.Name
		}
		out.config, out.description = withoutSource(noted.Config), noted.Description
	}
	own, err := t.Pool()
	switch {
	case err == nil:
		out.name, out.config, out.description, out.createdAt = own.Name, withoutSource(own.Config), own.Description, own.CreatedAt
	case !errors.Is(err, fs.ErrNotExist):
		return out, err
	}
	out.origin = originOf(out.survey.Own, noted)
	return out, nil
}

// originOf tells who laid a pool out. LXD and Incus do it alike: only the path of
// the pool's file, which they note, can tell the one from the other.
func originOf(own bool, noted *tree.PoolInfo) string {
	var source string
	if noted != nil {
		source = noted.Config["source"]
	}
	switch {
	case own:
		return "poolctl"
	case strings.Contains(source, "/incus/"):
		return "incus"
	case strings.Contains(source, "/lxd/"):
		return "lxd"
	}
	return "lxd or incus"
}

func withoutSource(config map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range config {
		if k != "source" {
			out[k] = v
		}
	}
	return out
}

// InspectMount shows the root of an instance in a pool's file, or of its snapshot
// with NAME/SNAP, read-only at dir; with dir "" at a directory made for it below
// the state directory. Unmounting it ends everything: the file's loop device has
// no other user. Owners are those seen inside; set-id programs and device
// nodes have no effect through it.
func (s *System) InspectMount(ctx context.Context, path, ref, dir string) (string, error) {
	where, err := s.inspectMount(ctx, path, ref, dir)
	if err != nil {
		return "", fmt.Errorf("cannot look into %s of %s: %w", ref, path, err)
	}
	return where, nil
}

func (s *System) inspectMount(ctx context.Context, path, ref, dir string) (_ string, err error) {
	u, err := s.openUntouched(ctx, path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, u.close()) }()
	name, snap, isSnapshot := strings.Cut(ref, "/")
	rec, err := u.Instance(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", withHint(ErrNotFound, "poolctl pool inspect %s lists what is in it", path)
	}
	volume := filepath.Join("containers", name)
	if err == nil && isSnapshot {
		volume = filepath.Join("containers-snapshots", name, snap)
		if rec, err = u.InstanceAt(name, snap); errors.Is(err, fs.ErrNotExist) {
			err = withHint(ErrNotFound, "poolctl pool inspect %s lists what is in it", path)
		}
	}
	if err != nil {
		return "", err
	}
	base := strings.TrimSuffix(filepath.Base(u.rec.Source), ".img")
	place, err := s.mountLook(base+"@"+ref, dir, func(place string) error { return u.showRoot(filepath.Join(volume, "rootfs"), place, rec.Config) })
	if err != nil {
		return "", err
	}
	return place, ctx.Err()
}
