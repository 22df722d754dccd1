package pool

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// poolUser is something in a pool.
type poolUser struct {
	path string // as Incus has it in used_by
	name string // for people: "instance c1"
}

// poolUsers is used_by of an attached pool.
func (s *System) poolUsers(ctx context.Context, rec state.PoolRecord) ([]poolUser, error) {
	p, err := s.peek(rec)
	if err != nil || p == nil {
		return nil, err
	}
	defer func() { _ = p.Close() }()
	used, err := instanceUsers(ctx, p)
	if err != nil {
		return nil, err
	}
	volumes, err := p.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		u := poolUser{"/1.0/storage-pools/" + rec.Name + "/volumes/custom/" + v.Name, "volume " + v.Name}
		if v.Project != tree.DefaultProject {
			u.path += "?project=" + v.Project
			u.name += " of project " + v.Project
		}
		used = append(used, u)
	}
	images, err := p.Images()
	if err != nil {
		return nil, err
	}
	for _, im := range images {
		used = append(used, poolUser{"/1.0/images/" + im.Fingerprint, "image " + im.Fingerprint[:12]})
	}
	return used, nil
}

// instanceUsers are the instances, and LXD's or Incus's virtual machines, with their snapshots.
func instanceUsers(ctx context.Context, p *tree.Tree) ([]poolUser, error) {
	var used []poolUser
	add := func(kind, name string, snapshots []tree.Snapshot) {
		path := "/1.0/instances/" + name
		used = append(used, poolUser{path, kind + " " + name})
		for _, sn := range snapshots {
			used = append(used, poolUser{path + "/snapshots/" + sn.Name, "snapshot " + name + "/" + sn.Name})
		}
	}
	instances, err := p.Instances(ctx)
	if err != nil {
		return nil, err
	}
	for _, in := range instances {
		add("instance", in.Name, in.Snapshots)
	}
	machines, err := p.Machines()
	if err != nil {
		return nil, err
	}
	for _, m := range machines {
		add("virtual machine", m.Name, m.Snapshots)
	}
	return used, nil
}

// checkNobodys refuses to delete an attached pool that something is in, naming it:
// users, and what is not the pool's, unless it stays.
func (s *System) checkNobodys(ctx context.Context, rec state.PoolRecord) error {
	p, err := s.peek(rec)
	if err != nil || p == nil {
		return err
	}
	defer func() { _ = p.Close() }()
	if err := p.Recover(ctx); err != nil { // what a killed command left is not the user's
		s.notice(err.Error())
	}
	used, err := s.poolUsers(ctx, rec)
	if err != nil {
		return err
	}
	trash, err := trashedNames(p)
	if err != nil {
		return err
	}
	if len(used) > 0 {
		names := make([]string, 0, len(used))
		for _, u := range used {
			names = append(names, u.name)
		}
		if len(trash) > 0 {
			return withHint(fmt.Errorf("%w: in it: %s; and in its trash: %s", ErrInUse, firstFew(names), firstFew(trash)), "delete them first, which leaves the trash to go with the pool, or everything at once with --force")
		}
		return withHint(fmt.Errorf("%w: in it: %s", ErrInUse, firstFew(names)), "delete them first, or everything at once with --force")
	}
	foreign, err := p.Foreign()
	if err != nil {
		return err
	}
	hint := "move it out first, or have it deleted too with --force (the pool is mounted at %s)"
	if rec.Kind == state.PoolDirectory {
		foreign = slices.DeleteFunc(foreign, func(path string) bool { return !strings.Contains(path, "/") }) // stays beside the pool's
		hint = "move it out first; with --force what is not the pool's stays (the pool is mounted at %s)"
	}
	if len(foreign) > 0 {
		return withHint(fmt.Errorf("%w: in it, and no instance, volume or image: %s", ErrInUse, firstFew(foreign)), hint, s.dir.MountPoint(rec.Name))
	}
	if len(trash) > 0 {
		s.noticef("what is in the trash of pool %s goes with it: %s", rec.Name, firstFew(trash))
	}
	return nil
}

// trashedNames names what is in a pool's trash.
func trashedNames(p *tree.Tree) ([]string, error) {
	all, err := p.Trash()
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(all))
	for _, it := range all {
		name := it.Name
		if it.Broken != nil {
			name = it.ID
		} else if it.Type == tree.TypeImage {
			name = "image " + name[:12]
		}
		names = append(names, name)
	}
	return names, nil
}

// firstFew names the first of many, and says how many more there are.
func firstFew(names []string) string {
	const few = 5
	if len(names) <= few+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}
