package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"poolctl/pool/backup"
	"poolctl/pool/sendstream"
	"poolctl/pool/tree"
)

// ReceiveOptions are the arguments of Receive.
type ReceiveOptions struct {
	Name string // "" = as it was called
	Pool string // of a new instance; "" = as for Import
	// Force gives an instance the state that is received also when it has changed since
	// the snapshot that it builds on: what has changed is lost.
	Force    bool
	Progress func(Progress)
}

// Received says what was received.
type Received struct {
	Name      string
	New       bool     // the instance was made
	Snapshots []string // that it has got
}

// Receive makes an instance of what Send wrote or, of what it wrote with a parent, gives
// the instance that has the parent the snapshots in it and its state. All of it is
// received aside, verified, and there in one step.
//
// A new instance is what Import makes of a backup. One that is there keeps its
// configuration and what it is known by. Its state must be that of the parent: see
// ReceiveOptions.Force.
func (s *System) Receive(ctx context.Context, o ReceiveOptions, r io.Reader) (out Received, err error) {
	in, err := sendstream.NewReader(ctx, interruptibleReader(ctx, r))
	if err != nil {
		if errors.Is(err, sendstream.ErrFormat) {
			err = withHint(err, "poolctl import reads backups, btrfs receive bare streams")
		}
		return out, fmt.Errorf("cannot receive: %w", err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	rc := &receiving{s: s, o: o, in: in, head: in.Header}
	if out.Name = o.Name; out.Name == "" {
		out.Name = in.Header.Name
	}
	rc.name = out.Name
	if out.Snapshots, err = rc.names(); err == nil {
		if out.New = in.Header.Parent == nil; out.New {
			err = rc.makeNew(ctx, out)
		} else {
			err = rc.extend(ctx, out)
		}
	}
	if err != nil {
		return out, fmt.Errorf("cannot receive %.256q: %w", out.Name, err)
	}
	return out, nil
}

// receiving is a Receive on its way.
type receiving struct {
	s    *System
	o    ReceiveOptions
	in   *sendstream.Reader
	head sendstream.Header
	name string // of the instance here
}

// names are the snapshots that are received.
func (r *receiving) names() ([]string, error) {
	var names []string
	for _, v := range r.head.Versions[:len(r.head.Versions)-1] {
		names = append(names, v.Snapshot)
	}
	return names, checkSnapshotNames(names)
}

// streamNeed is what a stream says that it takes.
func streamNeed(h sendstream.Header) spaceNeed {
	return spaceNeed{what: "what is received", least: h.Size, most: max(h.Size, h.DataSize), trees: h.TreeSize}
}

// makeNew makes an instance as an import does.
func (r *receiving) makeNew(ctx context.Context, out Received) (err error) {
	im := &instanceImport{s: r.s, o: ImportOptions{Name: r.o.Name, Pool: r.o.Pool}}
	defer func() {
		err = errors.Join(err, im.close())
		if im.p != nil {
			err = r.s.hintFull(im.p.rec, errors.Join(err, im.p.close()))
		}
	}()
	need := streamNeed(r.head)
	index := backup.Index{
		Name: r.head.Name, Backend: "btrfs", Pool: r.head.Pool, Type: backup.TypeContainer, Optimized: true, Snapshots: out.Snapshots, Record: []byte(r.head.Record),
	}
	if _, err := im.begin(ctx, index, &need); err != nil {
		return err
	}
	if err := r.receive(ctx, im.p, &im.stage.OwnerStage); err != nil {
		return err
	}
	return im.commit(ctx)
}

// receive reads all streams into a stage, verifies the whole, and assembles it.
func (r *receiving) receive(ctx context.Context, p *openedPool, stage *tree.OwnerStage) error {
	watch := r.s.watchSpace(ctx, p.rec, "what is received")
	defer watch.stop()
	return watch.cause(r.receiveWatched(watch, stage))
}

func (r *receiving) receiveWatched(watch *spaceWatch, stage *tree.OwnerStage) error {
	count := &counter{name: r.name, report: r.o.Progress}
	count.expect(streamNeed(r.head))
	for _, v := range r.head.Versions {
		for _, m := range membersOf(v) {
			from, err := r.in.Stream()
			if err == nil {
				err = stage.Receive(watch.ctx, m, passReader{watch, io.TeeReader(from, count)})
			}
			if err != nil {
				return err
			}
		}
	}
	if err := r.in.End(); err != nil {
		return err
	}
	count.end()
	if err := stage.Assemble(watch.ctx); err != nil {
		return err
	}
	return stage.Sync()
}

func membersOf(v sendstream.Version) []tree.Member {
	var out []tree.Member
	for _, sub := range v.Subvolumes {
		out = append(out, tree.Member{Snapshot: v.Snapshot, Path: sub.Path, ReadOnly: sub.ReadOnly, UUID: sub.UUID, StreamUUID: sub.UUID})
	}
	return out
}

// extend gives the instance that has the parent what is received.
func (r *receiving) extend(ctx context.Context, out Received) (err error) {
	in, err := r.s.lockInstance(ctx, out.Name)
	if errors.Is(err, ErrNotFound) {
		return r.noParent(fmt.Errorf("there is no instance %s", out.Name))
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if r.o.Pool != "" && r.o.Pool != in.openedPool.rec.Name {
		return fmt.Errorf("it is in pool %s", in.openedPool.rec.Name)
	}
	if err := r.s.checkStill(in.rec); err != nil {
		return err
	}
	base, err := r.findParent(in)
	if err != nil {
		return err
	}
	for _, snap := range out.Snapshots {
		if slices.Contains(instanceSnapshotNames(in.rec), snap) {
			return fmt.Errorf("snapshot %s: %w", snap, ErrExists)
		}
	}
	if err := r.checkUnchanged(ctx, out.Name, base); err != nil {
		return err
	}
	if err := r.s.needSpace(ctx, in.openedPool.rec, streamNeed(r.head)); err != nil {
		return err
	}
	stage, err := in.StageInstanceReplacement(ctx, out.Name, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.Abort()) }()
	stage.KeepLimit = true
	err = stage.Extend(ctx, instanceSnapshotNames(in.rec), base)
	if err == nil {
		err = r.receive(ctx, in.openedPool, &stage.OwnerStage)
	}
	if err == nil {
		err = r.commit(ctx, in, stage, out.Snapshots)
	}
	r.s.afterDelete(ctx, in.openedPool)
	return r.s.hintFull(in.openedPool.rec, err)
}

// noParent says which snapshot is missing.
func (r *receiving) noParent(cause error) error {
	p := r.head.Parent
	return withHint(fmt.Errorf("%w: it builds on the snapshot %q of %s, made %s (UUID %s)", cause, p.Snapshot, r.head.Name, p.CreatedAt.Format("2006-01-02 15:04:05 MST"), p.UUID()),
		"receive that first: poolctl send %s/%s; or send all of it, without --parent", shellWord(r.head.Name), shellWord(p.Snapshot))
}

// findParent is the snapshot that is the parent, whatever it is called here.
func (r *receiving) findParent(in *lockedInstance) (string, error) {
	for _, snap := range instanceSnapshotNames(in.rec) {
		same, err := in.SameSnapshot(in.rec.Name, snap, membersOf(*r.head.Parent))
		if err != nil || same {
			return snap, err
		}
	}
	return "", r.noParent(fmt.Errorf("%s does not have what it builds on", in.rec.Name))
}

// checkUnchanged refuses an instance whose root is not what the snapshot has, but for
// the machine id that it was given when it was made.
func (r *receiving) checkUnchanged(ctx context.Context, name, snap string) error {
	if r.o.Force {
		return nil
	}
	changes, err := r.s.Diff(ctx, name+"/"+snap, "")
	changes = slices.DeleteFunc(changes, func(c FileChange) bool {
		return c.Change == "modified" && slices.Contains(machineIDs, strings.TrimPrefix(c.Path, "/"))
	})
	if err != nil || len(changes) == 0 {
		return err
	}
	differ := fmt.Sprintf("%d paths differ", len(changes))
	if len(changes) == 1 {
		differ = "1 path differs"
	}
	return withHint(fmt.Errorf("it has changed since its snapshot %s: %s", snap, differ),
		"poolctl diff %[1]s/%[2]s shows them; poolctl restore %[1]s %[2]s --keep brings it back to that; --force gives up what has changed", name, snap)
}

// commit gives the instance what was received, with its own configuration. What is said
// of the snapshots may come from anybody.
func (r *receiving) commit(ctx context.Context, in *lockedInstance, stage *tree.InstanceStage, names []string) error {
	if err := checkRootDir(stage.Path()); err != nil {
		return err
	}
	unlock, err := r.s.dir.LockProfiles(ctx, true)
	if err != nil {
		return err
	}
	defer unlock()
	theirs, err := r.entries(in, stage, names)
	if err == nil && r.isAnother(in) {
		err = keepMachineID(in.InstancePath(in.rec.Name), stage.Path())
	}
	if err != nil {
		return err
	}
	own, err := in.SnapshotEntries(in.rec.Name)
	if err != nil {
		return err
	}
	rec := in.rec
	rec.Snapshots = append(own, theirs...)
	if rec.Limit, err = rootSize(rec.ExpandedDevices); err != nil {
		return err
	}
	if !r.s.canHold(ctx, in.openedPool, rec.Name, rec.Limit) {
		rec.Limit = 0
	}
	return stage.Commit(ctx, rec)
}

// isAnother says whether the instance has an identity of its own here.
func (r *receiving) isAnother(in *lockedInstance) bool {
	return r.head.UUID != in.rec.Config["volatile.uuid"]
}

// entries is what is recorded here of the snapshots that were received.
func (r *receiving) entries(in *lockedInstance, stage *tree.InstanceStage, names []string) ([]tree.Snapshot, error) {
	theirs, err := tree.ParseRecord([]byte(r.head.Record))
	if err == nil {
		err = checkRecordType(theirs)
	}
	if err == nil {
		theirs.Snapshots, err = stage.Entries(names, theirs.Snapshots)
	}
	if err != nil {
		return nil, err
	}
	theirs.Name = in.rec.Name
	home, err := r.s.newHome(in.openedPool.rec, r.head.Pool)
	if err == nil {
		err = r.s.settleInstance(&theirs, home)
	}
	if err != nil {
		return nil, err
	}
	if as := identityOf(in.rec); r.isAnother(in) {
		for _, sn := range theirs.Snapshots {
			as.adapt(sn.Config, sn.Devices)
			as.adapt(sn.ExpandedConfig, sn.ExpandedDevices)
		}
	}
	return theirs.Snapshots, nil
}
