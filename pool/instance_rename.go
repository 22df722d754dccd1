package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/tree"
	"poolctl/runtime/network"
)

// opRename is the operation of an intent to rename an instance.
const opRename = "instance-rename"

// renaming is that intent.
type renaming struct {
	Pool string `json:"pool"`
	From string `json:"from"`
	To   string `json:"to"`
	// Change is what is recorded with the new name; nil: nothing, or it is by now.
	Change *renamedChange `json:"change,omitempty"`
}

// renamedChange is a transition.
type renamedChange struct {
	Was tree.Instance `json:"was"`
	Now tree.Instance `json:"now"`
}

// RenameInstance gives a stopped instance another name, with its snapshots and logs.
//
// Order: intent, the directory of the snapshots, the volume (the commit), the record,
// the logs. What a kill leaves undone of it the next command does.
func (s *System) RenameInstance(ctx context.Context, from, to string) error {
	return s.renameInstance(ctx, from, to, nil)
}

// renameInstance is RenameInstance that makes a change of the record with it, unless that
// is nil. What is refused of the change is refused before the intent.
func (s *System) renameInstance(ctx context.Context, from, to string, change func(in *tree.Instance) error) (err error) {
	p, _, err := s.findInstance(ctx, from)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, p.close()); err != nil {
			err = fmt.Errorf("cannot rename %s to %s: %w", from, shellWord(to), err)
		}
	}()
	if err := tree.ValidateInstanceName(to); err != nil {
		return err
	}
	if from == to {
		return errors.New("that is its name")
	}
	unlock, err := s.lockNames(ctx, from, to)
	if err != nil {
		return err
	}
	defer unlock()
	in, err := p.Instance(from)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound // deleted while we waited
	} else if err != nil {
		return err
	}
	if err := s.checkRenamed(ctx, in, to); err != nil {
		return err
	}
	intent := renaming{Pool: p.rec.Name, From: from, To: to}
	var t transition
	if change != nil {
		var unlockChange func()
		if t, unlockChange, err = s.renamedWith(ctx, &lockedInstance{openedPool: p, rec: in}, change); err != nil {
			return err
		}
		defer unlockChange()
		intent.Change = &renamedChange{t.was, t.now}
	}
	if err := s.removeLogs(to); err != nil { // of one whose pool is gone
		return err
	}
	entry, err := journal.Begin(ctx, s.journalDir(), opRename, intent)
	if err != nil {
		return err
	}
	crash.Point("pool.rename.begun")
	if change != nil {
		if _, err := s.takeEffect(ctx, t); err != nil {
			return errors.Join(err, entry.Done())
		}
		crash.Point("pool.rename.applied")
	}
	if err := s.rename(ctx, p, entry, intent); err != nil {
		return errors.Join(s.hintFull(p.rec, err), entry.Close()) // the next command goes on
	}
	return entry.Done()
}

// renamedWith plans and checks a change of a locked instance that does not run, and keeps
// from others what it depends on until unlock is called.
func (s *System) renamedWith(ctx context.Context, in *lockedInstance, change func(in *tree.Instance) error) (t transition, unlock func(), err error) {
	unlockProfiles, err := s.dir.LockProfiles(ctx, true)
	if err != nil {
		return t, nil, err
	}
	if t, err = s.plannedChange(ctx, in, change); err != nil {
		unlockProfiles()
		return t, nil, err
	}
	unlockClaims, err := s.lockClaims(ctx, t.was.ExpandedDevices, t.now.ExpandedDevices)
	if err != nil {
		unlockProfiles()
		return t, nil, err
	}
	unlock = func() { unlockClaims(); unlockProfiles() }
	if err := s.checkDevices(ctx, in, t.was, t.now); err != nil {
		unlock()
		return t, nil, err
	}
	return t, unlock, nil
}

// checkRenamed refuses an instance that cannot be renamed now, and a name that is
// taken.
func (s *System) checkRenamed(ctx context.Context, in tree.Instance, to string) error {
	other, _, err := s.findInstance(ctx, to)
	if err == nil {
		return errors.Join(ErrExists, other.close())
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	return s.checkStill(in)
}

// checkStill refuses an instance that is Broken, runs, or is looked into.
func (s *System) checkStill(in tree.Instance) error {
	if in.Broken != nil {
		return in.Broken
	}
	if s.isRunning(in.Name) {
		return withHint(errors.New("it is running"), "poolctl stop %s first", in.Name)
	}
	return s.checkNoLook(in.Name)
}

// rename does what is not done yet of it.
func (s *System) rename(ctx context.Context, p *openedPool, e *journal.Entry, in renaming) error {
	if err := p.RenameInstance(in.From, in.To); err != nil {
		return err
	}
	crash.Point("pool.rename.moved")
	var rec tree.Instance
	err := s.withRoom(ctx, p, "its new name", func() (err error) {
		rec, err = p.UpdateInstance(in.To, func(r *tree.Instance) error {
			if in.Change != nil {
				transition{was: in.Change.Was, now: in.Change.Now}.put(r)
			}
			if r.Config[applyTemplateKey] == "" {
				r.Config[applyTemplateKey] = "rename" // as LXD: the image may have files with the name
			}
			return s.reexpandKnown(r)
		})
		return err
	})
	if err != nil {
		return err
	}
	crash.Point("pool.rename.recorded")
	var errs []error
	if in.Change != nil { // not once more, should the rest fail: it may be changed again before
		in.Change = nil
		errs = append(errs, e.Update(in))
	}
	to := s.logsOf(in.To)
	for i, from := range s.logsOf(in.From) {
		errs = append(errs, ignoreNotExist(os.Rename(from, to[i])))
	}
	return errors.Join(append(errs, s.renameReservations(rec))...)
}

// renameReservations has the networks of an instance know its addresses by its new
// name.
func (s *System) renameReservations(rec tree.Instance) error {
	var errs []error
	for _, name := range nicsOf(rec.ExpandedDevices) {
		dev := rec.ExpandedDevices[name]
		hwaddr := nicHWAddr(rec.Config, name, dev)
		net, err := s.dir.LoadNetwork(nicBridge(dev))
		if hwaddr == "" || err != nil {
			continue // no nic, or its network is gone with its reservations
		}
		bridge, err := s.bridge(net)
		if err == nil {
			_, err = bridge.ReserveAll(rec.Name, []network.Ask{askOf(name, hwaddr, dev)})
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// recoverRename goes on with what a killed command had begun to rename.
func (s *System) recoverRename(ctx context.Context, e *journal.Entry) (err error) {
	var in renaming
	if err := e.Args(&in); err != nil {
		return err
	}
	p, err := s.openPool(ctx, in.Pool)
	if errors.Is(err, ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	unlock, err := s.lockNames(ctx, in.From, in.To)
	if err != nil {
		return err
	}
	defer unlock()
	_, fromErr := p.Instance(in.From)
	_, toErr := p.Instance(in.To)
	if (fromErr == nil) == (toErr == nil) || s.isRunning(in.From) {
		return nil // deleted, or used again under its old name
	}
	if err := s.rename(ctx, p, e, in); err != nil || in.Change == nil {
		return err
	}
	rec, err := p.BriefInstance(in.To)
	if err != nil {
		return err
	}
	was, _ := rootSize(in.Change.Was.ExpandedDevices) // a size that was written by hand: nobody could hold it
	if size, err := rootSize(rec.ExpandedDevices); err == nil && size == 0 && was != 0 {
		return p.SetLimit(ctx, p.InstancePath(in.To), 0)
	}
	s.keepInstanceLimit(ctx, &lockedInstance{openedPool: p, rec: rec})
	return nil
}
