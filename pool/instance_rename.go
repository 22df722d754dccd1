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
}

// RenameInstance gives a stopped instance another name, with its snapshots and logs.
//
// Order: intent, the directory of the snapshots, the volume (the commit), the record,
// the logs. What a kill leaves undone of it the next command does.
func (s *System) RenameInstance(ctx context.Context, from, to string) (err error) {
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
	intent := renaming{p.rec.Name, from, to}
	entry, err := journal.Begin(ctx, s.journalDir(), opRename, intent)
	if err != nil {
		return err
	}
	crash.Point("pool.rename.begun")
	if err := s.rename(ctx, p, intent); err != nil {
		return errors.Join(s.hintFull(p.rec, err), entry.Close()) // the next command goes on
	}
	return entry.Done()
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
	if err := s.checkStill(in); err != nil {
		return err
	}
	return s.removeLogs(to) // of one whose pool is gone
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
func (s *System) rename(ctx context.Context, p *openedPool, in renaming) error {
	if err := p.RenameInstance(in.From, in.To); err != nil {
		return err
	}
	crash.Point("pool.rename.moved")
	var rec tree.Instance
	err := s.withRoom(ctx, p, "its new name", func() (err error) {
		rec, err = p.UpdateInstance(in.To, func(r *tree.Instance) error {
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
	return s.rename(ctx, p, in)
}
