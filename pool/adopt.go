package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/state"
)

const opAdopt = "pool-adopt"

// adopting is the journal's record of a pool that is being adopted.
type adopting struct {
	Name string `json:"name"`
	Path string `json:"path"`
	// Former is what the pool called itself.
	Former string `json:"former"`
	// Rename has the new names of instances by those that they had.
	Rename map[string]string `json:"rename,omitempty"`
}

// AdoptOptions are the arguments of AdoptPool.
type AdoptOptions struct {
	Name string // of the pool here; "" = as it is called
	// Rename has the new names of instances by those that they have, such as where
	// instances of the same name are here already.
	Rename map[string]string
}

// AdoptPool takes in the pool in an existing file, on a block device or in a
// subvolume with all that is in it: one of poolctl's, LXD's or Incus's. It stays where it is.
// The pool's name is returned. Instances whose names are taken here are refused,
// unless they are given others.
//
// What the instances say of where they are (the pool's name, profiles and
// networks) is adapted, and nothing of their configuration lost: see settler.
//
// Order: a look that changes nothing, with every check; intent, attach and mount,
// layout (our own directory), record (the commit), then the instances, each by
// one rename. Killed before the record, the next command unmounts it again; after
// that, it adapts the rest.
func (s *System) AdoptPool(ctx context.Context, path string, o AdoptOptions) (_ string, err error) {
	c, about, err := s.lookForAdoption(ctx, path)
	if err != nil {
		return "", fmt.Errorf("cannot adopt %s: %w", pathName(path), err)
	}
	in := adopting{Name: o.Name, Path: c.rec.Source, Former: about.name, Rename: o.Rename}
	if in.Name == "" {
		in.Name = in.Former
	}
	if err := s.adopt(ctx, c, in); err != nil {
		return "", fmt.Errorf("cannot adopt %s as pool %s: %w", path, in.Name, err)
	}
	return in.Name, nil
}

// lookForAdoption refuses what cannot be adopted, and asks it what it is.
// Nothing is changed.
func (s *System) lookForAdoption(ctx context.Context, path string) (candidate, about, error) {
	c, err := s.candidateAt(path)
	if err != nil {
		return c, about{}, err
	}
	if c.own != nil {
		return c, about{}, withHint(fmt.Errorf("it is pool %s here: %w", c.own.Name, ErrExists), "poolctl pool info %s tells of it", c.own.Name)
	}
	if err := s.refuseTwin(c.rec); err != nil {
		return c, about{}, err
	}
	if err := checkWritable(c.rec); err != nil {
		return c, about{}, err
	}
	if err := refuseLook(c.rec); err != nil {
		return c, about{}, err
	}
	if err := needAdoption(c.rec); err != nil {
		return c, about{}, err
	}
	u, err := s.openUntouched(ctx, path)
	if err != nil {
		return c, about{}, err
	}
	found, err := aboutPool(ctx, u.Tree, c.super.Label)
	if err = errors.Join(err, u.close()); err != nil {
		return c, found, err
	}
	if c.rec.Kind == state.PoolFile {
		err = waitLoopGone(ctx, c.rec.Source)
	}
	return c, found, err
}

// refuseTwin refuses a copy of a pool that is here.
func (s *System) refuseTwin(rec state.PoolRecord) error {
	names, err := s.dir.ListPools()
	if err != nil {
		return err
	}
	for _, n := range names {
		have, err := s.dir.LoadPool(n)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if have.UUID == rec.UUID && have.Kind != state.PoolDirectory && rec.Kind != state.PoolDirectory {
			return withHint(fmt.Errorf("it is a copy of pool %s, which is in %s: both have the UUID %s", n, have.Source, rec.UUID),
				"give the copy a UUID of its own: btrfstune -u FILE; or forget the pool whose file is gone: poolctl pool delete --force %s", n)
		}
	}
	return nil
}

// checkWritable refuses what cannot be written to.
func checkWritable(rec state.PoolRecord) error {
	if rec.Kind == state.PoolDirectory {
		return nil // attaching it looks
	}
	f, err := os.OpenFile(rec.Source, os.O_RDWR, 0)
	if err != nil {
		return withHint(fmt.Errorf("it cannot be written to: %w", statError(err)), "poolctl pool inspect looks into it as it is")
	}
	return f.Close()
}

// refuseLook refuses a file that is looked into just now.
func refuseLook(rec state.PoolRecord) error {
	if rec.Kind != state.PoolFile {
		return nil
	}
	loops, err := loopdev.Find(rec.Source)
	if err != nil {
		return err
	}
	for _, l := range loops {
		if !l.ReadOnly {
			continue
		}
		st, err := describeStranger(l)
		if err != nil {
			return err
		}
		return withHint(fmt.Errorf("%w: it is attached read-only as %s", ErrInUse, st), "end that look first: %s", st.remedy())
	}
	return nil
}

// adopt attaches the candidate as the pool that the intent says.
func (s *System) adopt(ctx context.Context, c candidate, intent adopting) (err error) {
	name := intent.Name
	if err := state.ValidateName("pool", name); err != nil {
		return withHint(err, "poolctl pool adopt FILE --name NAME gives it another")
	}
	unlock, err := s.dir.LockPool(ctx, name, false)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.dir.LoadPool(name); err == nil {
		return withHint(fmt.Errorf("pool %s: %w", name, ErrExists), "poolctl pool adopt FILE --name NAME gives it another name")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entry, err := journal.Begin(ctx, s.journalDir(), opAdopt, intent)
	if err != nil {
		return err
	}
	crash.Point("pool.adopt.begun")
	rec := c.rec
	rec.Name = name
	if err := s.takeIn(ctx, c, rec, intent.Rename); err != nil {
		if uerr := s.undoAdopt(intent); uerr != nil {
			return errors.Join(err, uerr, entry.Close()) // the next command undoes the rest
		}
		return errors.Join(err, entry.Done())
	}
	crash.Point("pool.adopt.recorded")
	if err := s.settle(context.WithoutCancel(ctx), intent); err != nil {
		return errors.Join(fmt.Errorf("it is adopted, but the instances in it are not adapted yet: %w", err), entry.Close())
	}
	crash.Point("pool.adopt.settled")
	return entry.Done()
}

// takeIn does all up to the commit.
func (s *System) takeIn(ctx context.Context, c candidate, rec state.PoolRecord, rename map[string]string) (err error) {
	rec.Config = map[string]string{}
	if err := s.mountPool(ctx, rec); err != nil {
		return err
	}
	crash.Point("pool.adopt.mounted")
	t, err := openPoolTree(s.dir.MountPoint(rec.Name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	about, err := aboutPool(ctx, t, c.super.Label) // once more: a log has been replayed
	if err != nil {
		return err
	}
	s.adoptedRecord(&rec, about, c.size)
	unlock, err := s.claimNames(ctx, about, rename)
	if err != nil {
		return err
	}
	defer unlock()
	if err := errors.Join(t.Layout(), btrfs.Sync(t.Path())); err != nil {
		return err
	}
	crash.Point("pool.adopt.laid-out")
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.savePool(rec); err != nil {
		return err
	}
	s.tellOfAdopted(about)
	return nil
}

// adoptedRecord completes the record by what the pool says of itself. A setting
// that a pool cannot have here is left out, and told; one that poolctl does not
// know stays.
func (s *System) adoptedRecord(rec *state.PoolRecord, about about, size int64) {
	rec.Adopted, rec.Description, rec.CreatedAt = true, about.description, about.createdAt
	if rec.CreatedAt.IsZero() {
		rec.CreatedAt = time.Now().UTC()
	}
	for k, v := range about.config {
		if _, err := findPoolKey(k); err == nil {
			if err := checkPoolConfig(rec.Kind, map[string]string{k: v}); err != nil {
				s.noticef("%s=%s is left out: %s", k, v, err)
				continue
			}
		}
		rec.Config[k] = v
	}
	if err := checkCompressOnce(rec.Config); err != nil {
		s.noticef("compress=%s is left out: %s", rec.Config["compress"], err)
		delete(rec.Config, "compress")
	}
	rec.Config["source"] = rec.Source
	delete(rec.Config, "size")
	if rec.Kind == state.PoolFile {
		rec.Config["size"] = FormatSize(size)
	}
}

// tellOfAdopted tells of what is in the pool and not used here.
func (s *System) tellOfAdopted(about about) {
	for _, m := range about.survey.Machines {
		s.noticef("virtual machine %s stays as it is: virtual machines do not run here", m.Name)
	}
	for _, l := range about.survey.Leftovers {
		s.noticef("%s is ignored: an operation of LXD or Incus that did not end left it", l)
	}
	for _, in := range about.instances {
		if in.Broken != nil {
			s.noticef("instance %s stays as it is: %s", in.Name, in.Broken)
		}
	}
}

// undoAdopt takes back an adoption that did not come to its commit. The file
// stays, with at most our own directory more in it.
func (s *System) undoAdopt(in adopting) error {
	if err := s.dir.DeletePool(in.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	mp := s.dir.MountPoint(in.Name)
	mounted, err := isMountPoint(mp)
	if err == nil && mounted {
		err = unix.Unmount(mp, 0)
	}
	if err != nil {
		return fmt.Errorf("cannot unmount %s: %w", mp, err)
	}
	if err := os.Remove(mp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// recoverAdopt finishes or undoes the adoption that an unlocked intent tells of:
// with its record there, only instances may be left to adapt.
func (s *System) recoverAdopt(ctx context.Context, e *journal.Entry) error {
	var in adopting
	if err := e.Args(&in); err != nil {
		return err
	}
	unlock, err := s.dir.LockPool(ctx, in.Name, false)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := s.dir.LoadPool(in.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.undoAdopt(in)
	case err != nil:
		return err
	case rec.Source != in.Path:
		return nil // another pool of that name
	}
	if err := s.mountPool(ctx, rec); err != nil {
		return fmt.Errorf("cannot attach pool %s to adapt its instances: %w", rec.Name, err)
	}
	return s.settle(ctx, in)
}
