package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/pool/backup"
	"poolctl/pool/tree"
)

// ImportOptions are the arguments of Import.
type ImportOptions struct {
	// Pool is where it goes; "" = the pool that the backup names, if one here is called
	// so, and else as for a new instance.
	Pool string
	Name string // "" = as the backup says
	// Config and DeviceOverrides are laid over what the backup says.
	Config          map[string]string
	DeviceOverrides map[string]map[string]string
	Progress        func(Progress)
}

// Import makes an instance of a backup of one, of ours or of LXD's or Incus's, with
// its snapshots, and returns its name. It is read as a stream, and unpacked aside:
// the instance is there when it is complete.
//
// It keeps its identity (UUID, hardware addresses), as in Incus, unless another
// instance here has that. Its settings are adapted to what is here as those of an
// adopted pool are, see newHome.adapt; what it had of a profile that is not here
// becomes its own.
func (s *System) Import(ctx context.Context, o ImportOptions, r io.Reader) (name string, err error) {
	if err := checkNew(o.Name, o.Config); err != nil {
		return "", err
	}
	im := &instanceImport{s: s, o: o}
	err = s.importBackup(ctx, r, im, o.Name, o.Progress)
	if im.p != nil {
		err = errors.Join(err, im.p.close())
	}
	if err != nil {
		return "", fmt.Errorf("cannot import an instance: %w", err)
	}
	return im.name, nil
}

// instanceImport is a backupTarget.
type instanceImport struct {
	s      *System
	o      ImportOptions
	p      *openedPool
	index  backup.Index
	name   string
	unlock func()
	stage  *tree.InstanceStage
}

func (im *instanceImport) begin(ctx context.Context, in backup.Index, need *spaceNeed) (st importStage, err error) {
	if err := checkInstanceBackup(in); err != nil {
		return st, err
	}
	im.index = in
	if im.name = im.o.Name; im.name == "" {
		im.name = in.Name
	}
	if err := tree.ValidateInstanceName(im.name); err != nil {
		return st, withHint(fmt.Errorf("instance %.256q: %w", im.name, err), "another name may follow the file")
	}
	if im.p, err = im.openPool(ctx); err != nil {
		return st, err
	}
	if err := im.lockName(ctx); err != nil {
		return st, err
	}
	if need != nil {
		if err := im.s.needSpace(ctx, im.p.rec, *need); err != nil {
			return st, err
		}
	}
	if im.stage, err = im.p.StageInstance(ctx, im.name); err != nil {
		return st, err
	}
	im.stage.KeepLimit = true
	return importStage{im.p, &im.stage.OwnerStage}, nil
}

// checkInstanceBackup refuses what is no backup of a container.
func checkInstanceBackup(in backup.Index) error {
	switch in.Type {
	case backup.TypeContainer:
	case backup.TypeMachine:
		return withHint(errors.New("it is a backup of a virtual machine"), "poolctl runs system containers: Incus and LXD run virtual machines")
	case backup.TypeCustom:
		return withHint(errors.New("it is a backup of a custom volume"), "poolctl pool volume import POOL FILE")
	default:
		return fmt.Errorf("it is a backup of type %q, not of an instance", in.Type)
	}
	if in.Record == nil {
		return nil // it is in the volume
	}
	rec, err := tree.ParseRecord(in.Record)
	if err != nil {
		return err
	}
	return checkRecordType(rec)
}

func checkRecordType(rec tree.Instance) error {
	if rec.Type != backup.TypeContainer {
		return fmt.Errorf("it is a backup of an instance of type %q, not of a container", rec.Type)
	}
	return nil
}

// openPool opens the pool that it goes to.
func (im *instanceImport) openPool(ctx context.Context) (*openedPool, error) {
	pool := im.o.Pool
	if pool == "" {
		if names, err := im.s.dir.ListPools(); err != nil {
			return nil, err
		} else if slices.Contains(names, im.index.Pool) {
			pool = im.index.Pool
		} else if pool, err = im.s.poolOrDefault(""); err != nil {
			return nil, err
		}
	}
	return im.s.openPool(ctx, pool)
}

// lockName takes the lock of the new instance's name, and refuses one that is taken.
func (im *instanceImport) lockName(ctx context.Context) error {
	_, err := im.s.freeName(ctx, im.name)
	if err == nil {
		if im.unlock, err = im.s.dir.LockInstance(ctx, im.name); err != nil {
			return err
		}
		err = im.s.takeName(ctx, im.name)
	}
	if errors.Is(err, ErrExists) {
		err = withHint(err, "another name may follow the file")
	}
	return err
}

func (im *instanceImport) close() (err error) {
	if im.stage != nil {
		err = im.stage.Abort()
	}
	if im.unlock != nil {
		im.unlock()
		im.unlock = nil
	}
	return err
}

// checkRootDir refuses a volume, made of what came from elsewhere, that no instance can have.
func checkRootDir(volume string) error {
	root, err := os.OpenFile(filepath.Join(volume, "rootfs"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("it has no root filesystem: %w", statError(err))
	}
	return root.Close()
}

func (im *instanceImport) commit(ctx context.Context) error {
	if err := checkRootDir(im.stage.Path()); err != nil {
		return err
	}
	unlock, err := im.s.dir.LockProfiles(ctx, true)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := im.record(ctx)
	if err != nil {
		return err
	}
	if rec.Limit, err = rootSize(rec.ExpandedDevices); err != nil {
		return fmt.Errorf("the size of its root disk: %w", err)
	}
	if !im.s.canHold(ctx, im.p, im.name, rec.Limit) {
		rec.Limit = 0
	}
	return im.stage.Commit(ctx, rec)
}

// record is the record of the new instance: what the backup says, as it is to be here.
func (im *instanceImport) record(ctx context.Context) (rec tree.Instance, err error) {
	if im.index.Record != nil {
		rec, err = tree.ParseRecord(im.index.Record)
	} else if rec, err = im.stage.Record(); err == nil {
		err = checkRecordType(rec)
	}
	if err != nil {
		return rec, err
	}
	if rec.Snapshots, err = im.stage.Entries(im.index.Snapshots, rec.Snapshots); err != nil {
		return rec, err
	}
	former := im.index.Pool
	if rec.Pool != nil {
		former = rec.Pool.Name
	}
	rec.Name, rec.Project, rec.Location, rec.Stateful = im.name, "", "", false
	if rec.CreatedAt.IsZero() {
		rec.CreatedAt = time.Now().UTC()
	}
	for _, name := range rec.Profiles {
		if _, err := im.s.profile(name); err != nil {
			im.s.noticef("%s: there is no profile %s here: what it had of that is its own now", im.name, shellWord(name))
		}
	}
	home, err := im.s.newHome(im.p.rec, former)
	if err == nil {
		err = im.s.settleInstance(&rec, home)
	}
	if err == nil {
		err = im.ownIdentity(ctx, &rec)
	}
	if err == nil {
		err = im.override(&rec)
	}
	if err == nil {
		im.tellOfMissing(rec)
	}
	return rec, err
}

// ownIdentity gives the instance an identity of its own if another one here has its.
func (im *instanceImport) ownIdentity(ctx context.Context, rec *tree.Instance) error {
	if im.name != im.index.Name && rec.Config[applyTemplateKey] == "" {
		rec.Config[applyTemplateKey] = "rename" // the image may have files with the name
	}
	all, err := im.s.records(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(other tree.Instance) bool { return sameIdentity(*rec, other) })
	if i < 0 {
		return im.s.reexpand(rec)
	}
	im.s.noticef("%s has an identity of its own: %s has that which it had", im.name, all[i].Name)
	as := newIdentity()
	rec.Config[applyTemplateKey] = "copy"
	as.adapt(rec.Config, rec.Devices)
	for _, sn := range rec.Snapshots {
		as.adapt(sn.Config, sn.Devices)
		as.adapt(sn.ExpandedConfig, sn.ExpandedDevices)
	}
	if err := renewMachineID(im.stage.Path(), newMachineID()); err != nil {
		return err
	}
	return im.s.reexpand(rec)
}

// sameIdentity says whether two instances have the same UUID or hardware address.
func sameIdentity(a, b tree.Instance) bool {
	if id := a.Config["volatile.uuid"]; id != "" && id == b.Config["volatile.uuid"] {
		return true
	}
	taken := map[string]bool{}
	for name, dev := range b.ExpandedDevices {
		taken[nicHWAddr(b.Config, name, dev)] = true
	}
	for name, dev := range a.ExpandedDevices {
		if addr := nicHWAddr(a.Config, name, dev); addr != "" && taken[addr] {
			return true
		}
	}
	return false
}

// override lays over what the user gave.
func (im *instanceImport) override(rec *tree.Instance) (err error) {
	maps.Copy(rec.Config, im.o.Config)
	if rec.Devices, err = im.s.overrideDevices(rec.Profiles, rec.Config, rec.Devices, im.o.DeviceOverrides); err != nil {
		return err
	}
	if err := im.s.reexpand(rec); err != nil {
		return err
	}
	root := rootDevice(rec.ExpandedDevices)
	if pool := rec.ExpandedDevices[root]["pool"]; pool != im.p.rec.Name {
		return withHint(fmt.Errorf("device %s: it goes to pool %s, not %s", root, im.p.rec.Name, pool), "--storage %s puts it there", pool)
	}
	return nil
}

// tellOfMissing tells of custom volumes that are not here: without them it does not
// start.
func (im *instanceImport) tellOfMissing(rec tree.Instance) {
	for _, name := range sortedKeys(rec.ExpandedDevices) {
		dev := rec.ExpandedDevices[name]
		pool, volume := dev["pool"], customName(dev["source"])
		if !isDisk(dev) || pool == "" {
			continue
		}
		if _, err := im.s.dir.LoadPool(pool); err != nil {
			im.s.noticef("%s: device %s: there is no pool %s here", im.name, shellWord(name), shellWord(pool))
		} else if pool == im.p.rec.Name {
			if _, err := im.p.Volume(volume); err != nil {
				im.s.noticef("%s: device %s: there is no volume %s in pool %s", im.name, shellWord(name), shellWord(volume), pool)
			}
		}
	}
}
