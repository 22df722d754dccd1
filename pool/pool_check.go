package pool

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"poolctl/btrfs"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// Check is what a check of a pool looked at and found.
type Check struct {
	Pool     string         `json:"pool" yaml:"pool"`
	Attached bool           `json:"attached" yaml:"attached"`
	Done     []string       `json:"done" yaml:"done"`         // what was looked at
	Skipped  []string       `json:"skipped" yaml:"skipped"`   // what could not be, and why
	Problems []CheckProblem `json:"problems" yaml:"problems"` // what is wrong
}

// CheckProblem is one thing that is wrong.
type CheckProblem struct {
	Object  string `json:"object" yaml:"object"`
	Problem string `json:"problem" yaml:"problem"`
}

func (c *Check) problem(object, format string, args ...any) {
	c.Problems = append(c.Problems, CheckProblem{Object: object, Problem: fmt.Sprintf(format, args...)})
}

func (c *Check) did(what string) { c.Done = append(c.Done, what) }

func (c *Check) skip(what string, err error) {
	c.Skipped = append(c.Skipped, fmt.Sprintf("%s: %s", what, err))
}

// CheckPool looks for damage in a pool and changes nothing. Of one that is
// attached it reads all metadata, and checks the superblocks, the error counters
// and that instances, snapshots and images are what they should be. A pool that is
// detached stays so: btrfs-check(8) looks at it, and where that does not know all
// of the pool's features, the kernel reads everything instead. The problems are in
// the result, and the error is ErrDamaged then.
func (s *System) CheckPool(ctx context.Context, name string, progress func(Progress)) (Check, error) {
	rec, err := s.loadPool(name)
	if err != nil {
		return Check{}, err
	}
	out := Check{Pool: name, Done: []string{}, Skipped: []string{}, Problems: []CheckProblem{}}
	if out.Attached, err = s.isAttached(rec); err == nil {
		if out.Attached {
			err = s.checkAttached(ctx, name, &out)
		} else {
			err = s.checkDetached(ctx, rec, &out, progress)
		}
	}
	if err != nil {
		return out, fmt.Errorf("cannot check pool %s: %w", name, err)
	}
	if len(out.Problems) > 0 {
		return out, fmt.Errorf("pool %s is %w: %d problems", name, ErrDamaged, len(out.Problems))
	}
	return out, nil
}

func (s *System) checkAttached(ctx context.Context, name string, out *Check) error {
	p, err := s.openPool(ctx, name)
	if err != nil {
		return err
	}
	defer func() { _ = p.close() }()
	h, err := s.poolHealth(p.rec)
	if err != nil {
		return err
	}
	out.did("health")
	if h.ReadOnly {
		out.problem("file system", "it is read-only: %s", h.Reason)
	}
	if n := h.Errors.Sum(); n > 0 {
		out.problem("device", "%d errors were counted: %d writing, %d reading, %d flushing, %d wrong contents, %d wrong generations", n,
			h.Errors.WriteErrors, h.Errors.ReadErrors, h.Errors.FlushErrors, h.Errors.CorruptionErrors, h.Errors.GenerationErrors)
	}
	if err := s.checkSupers(p.rec, out); err != nil {
		return err
	}
	return checkInside(ctx, p.Tree, out)
}

// checkSupers verifies the superblock's copies, of a pool that has a file or
// device of its own.
func (s *System) checkSupers(rec state.PoolRecord, out *Check) error {
	if rec.Kind == state.PoolDirectory {
		return nil
	}
	path, err := sourcePath(rec)
	if err != nil {
		return err
	}
	super, err := btrfs.ReadSuper(path)
	if err != nil {
		out.problem("superblock", "%s", err)
		return nil
	}
	problems, err := btrfs.CheckSupers(path, super.TotalBytes)
	for _, p := range problems {
		out.problem("superblock", "%s", p)
	}
	out.did("superblocks")
	return err
}

// sourcePath is where a pool's file or device is now.
func sourcePath(rec state.PoolRecord) (string, error) {
	if rec.Kind == state.PoolDevice {
		return findDevice(rec)
	}
	return rec.Source, nil
}

// checkInside reads the metadata of a mounted pool, and checks its layout.
func checkInside(ctx context.Context, t *tree.Tree, out *Check) error {
	problems, err := btrfs.ReadMetadata(ctx, t.Path())
	if err != nil {
		return err
	}
	for _, p := range problems {
		out.problem("metadata", "%s", p)
	}
	out.did("metadata")
	if err := checkLayout(ctx, t, out); err != nil {
		out.problem("layout", "%s", err) // what cannot even be listed
	}
	out.did("layout")
	return ctx.Err()
}

// checkLayout checks that everything in a pool is what it should be.
func checkLayout(ctx context.Context, t *tree.Tree, out *Check) error {
	instances, err := t.Instances(ctx)
	if err != nil {
		return err
	}
	for _, in := range instances {
		object := "instance " + in.Name
		if in.Broken != nil {
			out.problem(object, "its record cannot be read: %s", in.Broken)
		}
		if _, err := btrfs.Stat(t.InstancePath(in.Name)); err != nil {
			out.problem(object, "its volume is no subvolume: %s", err)
		}
		for _, sn := range in.Snapshots {
			path, err := t.SnapshotPath(in.Name, sn.Name)
			checkReadOnly("snapshot "+in.Name+"/"+sn.Name, path, err, out)
		}
	}
	images, err := t.Images()
	if err != nil {
		return err
	}
	for _, im := range images {
		object := "image " + im.Fingerprint[:12]
		if im.Damaged != nil {
			out.problem(object, "its record cannot be read: %s", im.Damaged)
		}
		checkReadOnly(object, t.ImagePath(im.Fingerprint), nil, out)
	}
	volumes, err := t.Volumes(ctx)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if _, err := btrfs.Stat(t.VolumePath(v.Name)); err != nil {
			out.problem("volume "+v.Name, "it is no subvolume: %s", err)
		}
	}
	return checkLeft(t, out)
}

// checkReadOnly checks that a snapshot or image cannot be written.
func checkReadOnly(object, path string, err error, out *Check) {
	readOnly := false
	if err == nil {
		readOnly, err = btrfs.IsReadOnly(path)
	}
	switch {
	case err != nil:
		out.problem(object, "%s", err)
	case !readOnly:
		out.problem(object, "it is not read-only: something may have changed it")
	}
}

// checkLeft looks for records without their image.
func checkLeft(t *tree.Tree, out *Check) error {
	records, err := filepath.Glob(filepath.Join(t.Path(), ".poolctl/images/*.json"))
	for _, r := range records {
		fingerprint := strings.TrimSuffix(filepath.Base(r), ".json")
		if _, ierr := t.Image(fingerprint); ierr != nil {
			out.problem("image "+fingerprint, "it has a record, but: %s", ierr)
		}
	}
	return err
}

// checkDetached checks a pool that is not attached, and must not be meanwhile.
func (s *System) checkDetached(ctx context.Context, rec state.PoolRecord, out *Check, progress func(Progress)) error {
	if rec.Kind == state.PoolDirectory {
		return withHint(errors.New("it is a subvolume of a file system that is not poolctl's"), "attach it, or check that file system: btrfs check")
	}
	unlock, err := s.dir.LockPool(ctx, rec.Name, true) // who attaches it has to wait
	if err != nil {
		return err
	}
	defer unlock()
	path, err := sourcePath(rec)
	if err != nil {
		return err
	}
	if err := s.checkSupers(rec, out); err != nil || len(out.Problems) > 0 {
		return err
	}
	var found *btrfs.CheckError
	err = btrfs.CheckFilesystem(ctx, path)
	old := errors.Is(err, btrfs.ErrCheckTooOld) || errors.Is(err, exec.ErrNotFound)
	switch {
	case errors.As(err, &found):
		out.problem("file system", "btrfs check says:\n%s", found.Output)
	case old:
		reason := btrfs.ErrCheckTooOld
		if errors.Is(err, exec.ErrNotFound) {
			reason = errors.New("btrfs-progs is not installed")
		}
		out.skip("btrfs check", fmt.Errorf("%w; all metadata and all data were read and verified instead", reason))
	case err != nil:
		return err
	}
	if !old {
		out.did("btrfs check")
	}
	return s.lookInside(ctx, path, old, out, progress)
}

// lookInside checks what is in a detached pool by a read-only mount which is
// nowhere to be seen, and reads all files as well if data says so.
func (s *System) lookInside(ctx context.Context, path string, data bool, out *Check, progress func(Progress)) error {
	u, err := s.openUntouched(ctx, path)
	if err != nil {
		if len(out.Problems) == 0 {
			out.problem("file system", "it cannot be mounted: %s", err)
		}
		return ctx.Err()
	}
	defer func() { _ = u.close() }()
	if data {
		if err := readData(ctx, u.Tree, out, progress); err != nil {
			return err
		}
	}
	return checkInside(ctx, u.Tree, out)
}

// readData reads all data of a mounted pool, so that the kernel verifies it. A
// scrub it is not: the kernel refuses that on a mount like this one (EROFS), and
// second copies are not read.
func readData(ctx context.Context, t *tree.Tree, out *Check, progress func(Progress)) error {
	total := int64(0)
	if u, err := btrfs.GetUsage(t.Path()); err == nil {
		total = int64(u.Data.Used)
	}
	found, err := btrfs.Damaged(ctx, t.Path(), func(read uint64) {
		if progress != nil {
			progress(Progress{Name: "data", Done: min(int64(read), total), Total: total})
		}
	})
	for _, d := range found {
		object, prefix := objectOf(d.Subvolume)
		if d.Path == "" && d.Length == 0 {
			out.problem(object, "its metadata cannot be read")
			continue
		}
		out.problem(object, "%s cannot be read from byte %d on", filepath.Join(prefix, d.Path), d.Offset)
	}
	out.did("data")
	return err
}
