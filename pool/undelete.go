package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"poolctl/pool/tree"
)

// UndeleteOptions are the arguments of Undelete.
type UndeleteOptions struct {
	// Name is that of an instance, a custom volume or a snapshot of one (NAME/SNAPSHOT), an alias or the beginning of a
	// fingerprint.
	Name string
	// NewName is what it is to be called; "" for what it was called. Of a snapshot SNAPSHOT or NAME/SNAPSHOT.
	NewName string
	// Pool and Type say which one is meant where several have that name: see TrashQuery.
	Pool, Type string
}

// Undelete brings back what was deleted: of several of one name the one that was deleted last. It has its configuration,
// snapshots, size, expiry and aliases again, except for aliases and hardware addresses that others have by now, which is told.
// ErrNotFound when nothing of that name is in the trash, ErrExists when the name is taken.
func (s *System) Undelete(ctx context.Context, o UndeleteOptions) (Trashed, error) {
	it, err := s.findTrashed(ctx, o)
	if err == nil {
		err = s.undelete(ctx, it, o.NewName)
	}
	if err != nil {
		err = fmt.Errorf("cannot undelete %s: %w", o.Name, err)
	}
	return it, err
}

// findTrashed is what the options mean.
func (s *System) findTrashed(ctx context.Context, o UndeleteOptions) (Trashed, error) {
	found, err := s.searchTrash(ctx, TrashQuery{Pool: o.Pool, Type: o.Type, Names: []string{o.Name}})
	if err != nil {
		return Trashed{}, err
	}
	if exact := slices.DeleteFunc(slices.Clone(found), func(it Trashed) bool { return it.Name != o.Name && !slices.Contains(it.Aliases, o.Name) }); len(exact) > 0 {
		found = exact
	}
	if len(found) == 0 {
		return Trashed{}, withHint(ErrNotFound, "poolctl trash list shows what is in the trash")
	}
	last := found[0]
	for _, it := range found[1:] {
		if it.Pool != last.Pool || it.Type != last.Type || it.Name != last.Name {
			return last, withHint(fmt.Errorf("%s %s in pool %s and %s %s in pool %s are called so", last.Type, last.Name, last.Pool, it.Type, it.Name, it.Pool), "--type and --pool say which one is meant")
		}
		if it.DeletedAt.After(last.DeletedAt) {
			last = it
		}
	}
	if last.Problem != "" {
		return last, withHint(errors.New(last.Problem), "poolctl trash empty %s deletes it", last.Name)
	}
	return last, nil
}

// searchTrash is what is meant of the trash of one pool, of those that are attached or,
// where nothing is there, of the first of the others that has something, which stays
// attached.
func (s *System) searchTrash(ctx context.Context, q TrashQuery) (found []Trashed, err error) {
	if err := checkTrashType(q.Type); err != nil {
		return nil, err
	}
	add := func(_ *openedPool, some []Trashed) error {
		found = append(found, some...)
		return nil
	}
	if q.Pool != "" {
		err = s.visitTrash(ctx, q.Pool, q, add)
		return found, err
	}
	pools, detached, err := s.poolNames()
	if err != nil {
		return nil, err
	}
	for i, name := range append(pools, detached...) {
		if i >= len(pools) && len(found) > 0 {
			break
		}
		if err := s.leftOut(ctx, name, s.visitTrash(ctx, name, q, add)); err != nil {
			return nil, err
		}
		if i >= len(pools) && len(found) == 0 {
			s.detachAgain(ctx, name)
		}
	}
	return found, nil
}

func (s *System) undelete(ctx context.Context, it Trashed, name string) (err error) {
	p, err := s.openPool(ctx, it.Pool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	switch tree.ObjectType(it.Type) {
	case tree.TypeInstance:
		return s.undeleteInstance(ctx, p, it, name)
	case tree.TypeInstanceSnapshot:
		return s.undeleteSnapshot(ctx, p, it, name)
	case tree.TypeVolume:
		return s.undeleteVolume(ctx, p, it, name)
	case tree.TypeVolumeSnapshot:
		return s.undeleteVolumeSnapshot(ctx, p, it, name)
	case tree.TypeImage:
		if name != "" {
			return errors.New("an image has its fingerprint, and no other name")
		}
		return s.undeleteImage(ctx, p, it)
	default:
		return fmt.Errorf("it is a %s", it.Type)
	}
}

func (s *System) undeleteInstance(ctx context.Context, p *openedPool, it Trashed, name string) error {
	if name == "" {
		name = it.Name
	} else if err := tree.ValidateInstanceName(name); err != nil {
		return err
	}
	unlock, err := s.dir.LockInstance(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	other, _, err := s.findInstance(ctx, name)
	if err == nil {
		err = withHint(fmt.Errorf("instance %s %w", name, ErrExists), "poolctl undelete %s NEWNAME gives it another name", it.Name)
		return errors.Join(err, other.close())
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := s.removeLogs(name); err != nil { // of one whose pool is gone
		return err
	}
	unlockProfiles, err := s.dir.LockProfiles(ctx, true)
	if err != nil {
		return err
	}
	defer unlockProfiles()
	others, err := s.records(ctx)
	if err != nil {
		return err
	}
	err = p.Undelete(ctx, it.id, tree.UndeleteOptions{Name: name, Instance: func(r *tree.Instance) error {
		r.Pool = poolInfo(p.rec)
		s.dropTakenAddresses(r, others)
		if slices.ContainsFunc(others, func(o tree.Instance) bool { return o.Config[volatileUUID] == r.Config[volatileUUID] }) && r.Config[volatileUUID] != "" {
			r.Config[volatileUUID] = newUUID() // it was moved without its snapshots, which this has: they are two by now
		}
		if name != it.Name && r.Config["volatile.apply_template"] == "" {
			r.Config["volatile.apply_template"] = "rename" // as a rename does
		}
		if err := s.reexpandKnown(r); err != nil {
			s.noticef("%s has a profile that is not here any more: %s", name, err)
		}
		return nil
	}})
	return undeleteError(s.hintFull(p.rec, err), it)
}

// dropTakenAddresses takes the hardware addresses away that another instance has by now: it gets new ones when it is started.
func (s *System) dropTakenAddresses(r *tree.Instance, others []tree.Instance) {
	for key, addr := range maps.Clone(r.Config) {
		if !strings.HasPrefix(key, volatilePrefix) || !strings.HasSuffix(key, hwaddrSuffix) {
			continue
		}
		for _, other := range others {
			for _, theirs := range nicsOf(other.ExpandedDevices) {
				if sameHWAddr(addr, nicHWAddr(other.Config, theirs, other.ExpandedDevices[theirs])) {
					delete(r.Config, key)
					s.noticef("%s gets another hardware address when it is started: %s is that of %s by now", r.Name, addr, other.Name)
				}
			}
		}
	}
}

// undeleteError says which name was taken.
func undeleteError(err error, it Trashed) error {
	if errors.Is(err, fs.ErrExist) {
		return withHint(fmt.Errorf("what has its name %w", ErrExists), "poolctl undelete %s NEWNAME gives it another one", it.Name)
	}
	return err
}

// snapshotTarget is what a snapshot is to be called, in two parts.
func snapshotTarget(it Trashed, name string) (owner, snap string) {
	owner, snap, _ = strings.Cut(it.Name, "/")
	switch newOwner, newSnap, both := strings.Cut(name, "/"); {
	case both:
		return newOwner, newSnap
	case name != "":
		return owner, name
	}
	return owner, snap
}

func (s *System) undeleteSnapshot(ctx context.Context, p *openedPool, it Trashed, name string) (err error) {
	owner, snap := snapshotTarget(it, name)
	in, err := s.lockInstance(ctx, owner)
	if errors.Is(err, ErrNotFound) {
		return withHint(fmt.Errorf("instance %s is not there", owner), "poolctl undelete %s brings it back if it was deleted; poolctl undelete %s INSTANCE/%s makes it one of another instance's", owner, it.Name, snap)
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if in.openedPool.rec.Name != p.rec.Name {
		return fmt.Errorf("instance %s is in pool %s now, and the snapshot in pool %s", owner, in.openedPool.rec.Name, p.rec.Name)
	}
	err = p.Undelete(ctx, it.id, tree.UndeleteOptions{Name: owner + "/" + snap})
	return undeleteError(s.hintFull(p.rec, err), it)
}

func (s *System) undeleteVolume(ctx context.Context, p *openedPool, it Trashed, name string) error {
	if name = customName(name); name == "" {
		name = it.Name
	}
	unlock, err := s.dir.LockVolume(ctx, p.rec.Name, name)
	if err != nil {
		return err
	}
	defer unlock()
	to := name
	if name == it.Name {
		to = "" // also one of another project
	}
	return undeleteError(s.hintFull(p.rec, p.Undelete(ctx, it.id, tree.UndeleteOptions{Name: to})), it)
}

func (s *System) undeleteVolumeSnapshot(ctx context.Context, p *openedPool, it Trashed, name string) (err error) {
	owner, snap := snapshotTarget(it, name)
	v, err := s.lockVolume(ctx, p.rec.Name, owner)
	if errors.Is(err, ErrNotFound) {
		return withHint(fmt.Errorf("volume %s is not there", owner), "poolctl undelete --type volume %s brings it back if it was deleted", owner)
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	err = p.Undelete(ctx, it.id, tree.UndeleteOptions{Name: v.vol.Name + "/" + snap})
	return undeleteError(s.hintFull(p.rec, err), it)
}

func (s *System) undeleteImage(ctx context.Context, p *openedPool, it Trashed) error {
	unlock, err := s.lockImage(ctx, it.Name)
	if err != nil {
		return err
	}
	defer unlock()
	unlockAliases, err := s.dir.LockAliases(ctx, p.rec.Name)
	if err != nil {
		return err
	}
	defer unlockAliases()
	all, err := s.Images(ctx, "")
	if err != nil {
		return err
	}
	err = p.Undelete(ctx, it.id, tree.UndeleteOptions{Image: func(r *tree.ImageRecord) error {
		for _, a := range slices.Clone(r.Aliases) {
			named, _ := imagesNamed(all, a)
			if slices.ContainsFunc(named, func(im Image) bool { return im.Fingerprint != it.Name }) {
				s.noticef("alias %s is that of another image by now: image %s comes back without it", a, it.Name[:12])
				if err := removeAlias(r, a); err != nil {
					return err
				}
			}
		}
		return nil
	}})
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the image %w", ErrExists)
	}
	return s.hintFull(p.rec, err)
}
