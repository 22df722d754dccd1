package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"poolctl/btrfs"
	"poolctl/pool/tree"
)

// Volumes lists all volumes of a pool, of any type, with their snapshots. With
// allProjects also custom volumes of projects of LXD's and Incus's are listed.
func (s *System) Volumes(ctx context.Context, pool string, allProjects bool) (out []Volume, err error) {
	p, err := s.openPool(ctx, pool)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	users, err := s.volumeUsersIn(ctx, pool)
	if err != nil {
		return nil, err
	}
	customs, err := p.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range customs {
		if v.Project != tree.DefaultProject && !allProjects {
			continue
		}
		used := users[v.Name]
		if v.Project != tree.DefaultProject {
			used = nil
		}
		out = append(out, publicVolume(v, used))
		for _, sn := range v.Snapshots {
			out = append(out, Volume{
				Config: sn.Config, Description: sn.Description, Name: v.Name + "/" + sn.Name, Type: volumeCustom, UsedBy: usedBy(used),
				Location: "none", ContentType: contentFilesystem, Project: v.Project, CreatedAt: sn.CreatedAt,
			})
		}
	}
	instances, err := s.instanceVolumes(ctx, p)
	if err != nil {
		return nil, err
	}
	images, err := s.imageVolumes(p)
	if err != nil {
		return nil, err
	}
	vms, err := machineVolumes(p)
	out = slices.Concat(out, instances, images, vms)
	slices.SortStableFunc(out, func(a, b Volume) int {
		return strings.Compare(a.Type+"\x00"+a.Name, b.Type+"\x00"+b.Name)
	})
	return out, err
}

// instanceVolumes are those of the instances and their snapshots.
func (s *System) instanceVolumes(ctx context.Context, p *openedPool) ([]Volume, error) {
	all, err := p.Instances(ctx)
	if err != nil {
		return nil, err
	}
	var out []Volume
	for _, in := range all {
		add := func(name, path string, at time.Time) {
			out = append(out, Volume{
				Config: map[string]string{}, Name: name, Type: volumeContainer, UsedBy: []string{path}, Location: "none",
				ContentType: contentFilesystem, Project: tree.DefaultProject, CreatedAt: at,
			})
		}
		path := "/1.0/instances/" + in.Name
		add(in.Name, path, in.CreatedAt)
		for _, sn := range in.Snapshots {
			add(in.Name+"/"+sn.Name, path+"/snapshots/"+sn.Name, sn.CreatedAt)
		}
	}
	return out, nil
}

// imageVolumes are those of the images.
func (s *System) imageVolumes(p *openedPool) ([]Volume, error) {
	all, err := p.Images()
	if err != nil {
		return nil, err
	}
	var out []Volume
	for _, im := range all {
		out = append(out, Volume{
			Config: map[string]string{}, Name: im.Fingerprint, Type: volumeImage, UsedBy: []string{"/1.0/images/" + im.Fingerprint}, Location: "none",
			ContentType: contentFilesystem, Project: tree.DefaultProject, CreatedAt: im.UploadedAt,
		})
	}
	return out, nil
}

// machineVolumes are those of virtual machines of LXD's or Incus's, which are
// shown and nothing else.
func machineVolumes(p *openedPool) ([]Volume, error) {
	entries, err := os.ReadDir(filepath.Join(p.Path(), "virtual-machines"))
	if err = ignoreNotExist(err); err != nil {
		return nil, err
	}
	var out []Volume
	for _, e := range entries {
		sub, err := btrfs.Stat(filepath.Join(p.Path(), "virtual-machines", e.Name()))
		if err != nil {
			continue // not a volume
		}
		out = append(out, Volume{
			Config: map[string]string{}, Name: e.Name(), Type: volumeVM, UsedBy: []string{}, Location: "none", ContentType: "block",
			Project: tree.DefaultProject, CreatedAt: sub.CreatedAt.UTC(),
		})
	}
	return out, nil
}

// Volume shows one volume: [TYPE/]NAME, a custom one when no type is named.
func (s *System) Volume(ctx context.Context, pool, ref string) (Volume, error) {
	kind, name := volumeCustom, ref
	if t, rest, found := strings.Cut(ref, "/"); found && slices.Contains([]string{volumeCustom, volumeContainer, volumeImage, volumeVM}, t) {
		kind, name = t, rest
	}
	all, err := s.Volumes(ctx, pool, false)
	if err != nil {
		return Volume{}, err
	}
	for _, v := range all {
		if v.Type == kind && v.Name == name && !strings.Contains(name, "/") {
			return v, nil
		}
	}
	return Volume{}, volumeNotFound(pool, ref)
}

// VolumeInfo tells of a custom volume, what it takes and its snapshots.
func (s *System) VolumeInfo(ctx context.Context, pool, name string) (out VolumeInfo, err error) {
	p, err := s.openPool(ctx, pool)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	name = customName(name)
	v, err := p.Volume(name)
	if err != nil {
		return out, volumeError(err, pool, name)
	}
	users, err := s.volumeUsers(ctx, pool, name)
	if err != nil {
		return out, err
	}
	out = VolumeInfo{Volume: publicVolume(v, users), Snapshots: []VolumeSnapshot{}}
	for _, sn := range v.Snapshots {
		out.Snapshots = append(out.Snapshots, publicVolumeSnapshot(sn))
	}
	if size := v.Config["size"]; size != "" {
		if out.Total, err = ParseSize(size); err != nil {
			return out, fmt.Errorf("volume %s: %w", name, err)
		}
	}
	if v.Broken != nil {
		s.notice(v.Broken.Error())
	}
	out.Used, err = btrfs.Referenced(ctx, p.VolumePath(name))
	return out, err
}
