package pool

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/images/compress"
	"poolctl/images/tarball"
	"poolctl/pool/backup"
	"poolctl/pool/tree"
)

// ImportVolumeOptions are the arguments of ImportVolume.
type ImportVolumeOptions struct {
	Pool     string
	Name     string // "" = as the backup says
	Progress func(Progress)
}

// importLimits bound what a backup may ask for: as much as a pool can hold. The
// pool's room, and the volume's size, are the limits of its content.
var importLimits = tarball.Limits{Entries: 1 << 40, Bytes: 1 << 60, PathLen: 64 << 10, Depth: 4096}

// ImportVolume makes a custom volume of a backup of one, of ours or of LXD's or
// Incus's, and returns its name. It is read as a stream, and unpacked aside: the
// volume is there when it is complete.
func (s *System) ImportVolume(ctx context.Context, o ImportVolumeOptions, r io.Reader) (name string, err error) {
	p, err := s.openPool(ctx, o.Pool)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	im := &volumeImport{s: s, p: p, o: o}
	if err = s.needBackup(ctx, p, r); err == nil {
		err = im.run(ctx, r)
	}
	if err != nil {
		err = fmt.Errorf("cannot import a volume: %w", err)
		if refused := noSpaceError(""); errors.Is(err, unix.ENOSPC) && !errors.As(err, &refused) {
			err = withHint(err, "pool %s is full: poolctl pool resize %s", o.Pool, o.Pool)
		}
		return "", err
	}
	return im.vol.Name, nil
}

// volumeImport is an import on its way.
type volumeImport struct {
	s      *System
	p      *openedPool
	o      ImportVolumeOptions
	index  *backup.Index
	vol    tree.Volume
	unlock func()
	stage  *tree.VolumeStage
	// files are the streams that there may be, by their name.
	files   map[string]tree.Member
	budget  *tarball.Budget
	trees   map[string]*unpacking // by snapshot
	leftOut int
}

// unpacking is one state of the volume that is being written.
type unpacking struct {
	root *os.File
	*tarball.Extractor
}

func (im *volumeImport) run(ctx context.Context, r io.Reader) (err error) {
	if im.o.Progress != nil {
		r = io.TeeReader(r, &counter{name: "import", report: im.o.Progress})
	}
	buffered := bufio.NewReaderSize(r, 64<<10)
	head, err := buffered.Peek(compress.HeadSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	format := compress.Detect(head)
	if format == compress.Squashfs {
		return errors.New("it is a squashfs, not a backup")
	}
	z, err := compress.NewReader(ctx, format, buffered)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, z.Close()) }()
	im.budget, im.trees = tarball.NewBudget(importLimits), map[string]*unpacking{}
	defer func() { err = errors.Join(err, im.end()) }()
	if err := im.read(ctx, tar.NewReader(z)); err != nil {
		return err
	}
	// To the end, so that the compression's checksums are verified.
	if _, err := io.Copy(io.Discard, z); err != nil {
		return err
	}
	return im.finish(ctx)
}

// end gives up what is held.
func (im *volumeImport) end() error {
	var errs []error
	for _, t := range im.trees {
		t.Close()
		errs = append(errs, t.root.Close())
	}
	if im.stage != nil {
		errs = append(errs, im.stage.Abort())
	}
	if im.unlock != nil {
		im.unlock()
	}
	return errors.Join(errs...)
}

// read takes the entries of the archive.
func (im *volumeImport) read(ctx context.Context, tr *tar.Reader) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("cannot read the archive: %w", err)
		}
		if err := im.budget.Entry(); err != nil {
			return err
		}
		name, err := tarball.CleanName(hdr.Name, importLimits)
		if err == nil && hdr.Typeflag != tar.TypeXGlobalHeader {
			err = im.entry(ctx, hdr, name, tr)
		}
		if err != nil {
			return err
		}
	}
}

// entry takes one entry. The index comes before all that it is about.
func (im *volumeImport) entry(ctx context.Context, hdr *tar.Header, name string, r io.Reader) error {
	switch {
	case name == backup.IndexFile:
		return im.begin(ctx, r)
	case name == "backup" || name == "backup/volume-snapshots":
		return nil
	case im.index == nil:
		return withHint(fmt.Errorf("it is no backup: %q comes before %s", hdr.Name, backup.IndexFile), "poolctl pool volume export makes one")
	case name == backup.HeaderFile:
		return im.header(r)
	case im.index.Optimized:
		m, known := im.files[name]
		if !known {
			return fmt.Errorf("%q is not what the backup says that it holds", hdr.Name)
		}
		return im.stage.Receive(ctx, m, r)
	}
	snapshot, rel, ok := backup.Split(name)
	if !ok || snapshot != "" && !slices.Contains(im.index.Snapshots, snapshot) {
		return fmt.Errorf("%q is not what the backup says that it holds", hdr.Name)
	}
	t, err := im.tree(snapshot)
	if err != nil {
		return err
	}
	link := ""
	if hdr.Typeflag == tar.TypeLink {
		target, err := tarball.CleanName(hdr.Linkname, importLimits)
		if err != nil {
			return err
		}
		of, to, ok := backup.Split(target)
		if !ok || of != snapshot || to == "." {
			return fmt.Errorf("%q is a hard link to %q, which is outside its tree", hdr.Name, hdr.Linkname)
		}
		link = to
	}
	return t.Add(hdr, rel, link, r)
}

// begin reads the index and stages the volume.
func (im *volumeImport) begin(ctx context.Context, r io.Reader) error {
	if im.index != nil {
		return errors.New("it has two indexes")
	}
	raw, err := io.ReadAll(io.LimitReader(r, backup.MaxFile))
	if err != nil {
		return err
	}
	in, err := backup.ParseIndex(raw)
	if err != nil {
		return err
	}
	if err := checkBackup(in); err != nil {
		return err
	}
	im.vol = im.describe(in)
	if im.o.Name != "" {
		im.vol.Name = customName(im.o.Name)
	}
	if im.unlock, err = im.s.lockNewVolume(ctx, im.p, im.vol.Name); err != nil {
		return err
	}
	if im.stage, err = im.p.StageVolume(ctx, im.vol.Name); err != nil {
		return err
	}
	im.index = &in
	im.files = map[string]tree.Member{}
	for _, snapshot := range append(slices.Clone(in.Snapshots), "") { // a backup without a header has no nested ones
		im.expect(backup.Subvolume{Path: "/", Snapshot: snapshot, ReadOnly: snapshot != ""})
	}
	return nil
}

// checkBackup refuses what is no backup of a custom volume that can be read here.
func checkBackup(in backup.Index) error {
	switch {
	case in.Type != backup.TypeCustom:
		return fmt.Errorf("it is a backup of type %q, not of a custom volume", in.Type)
	case in.Config.Volume != nil && in.Config.Volume.ContentType != "" && in.Config.Volume.ContentType != contentFilesystem:
		return fmt.Errorf("its content is of type %q, which is not supported", in.Config.Volume.ContentType)
	case in.Optimized && in.Backend != "btrfs":
		return withHint(fmt.Errorf("it holds optimized data of a pool of type %q", in.Backend), "only a backup made without --optimized-storage can be imported in a btrfs pool")
	}
	for _, snapshot := range in.Snapshots {
		if err := tree.ValidateSnapshotName(snapshot); err != nil {
			return err
		}
	}
	return nil
}

// describe is the record of the volume: what its keys mean nothing here is left
// out and told.
func (im *volumeImport) describe(in backup.Index) tree.Volume {
	v := tree.Volume{Name: in.Name, Config: map[string]string{}, CreatedAt: time.Now().UTC()}
	if c := in.Config.Volume; c != nil {
		v.Description = c.Description
		for _, k := range sortedKeys(c.Config) {
			one := map[string]string{k: c.Config[k]}
			if strings.HasPrefix(k, "volatile.") {
				continue // of another machine
			}
			if err := checkVolumeConfig(one); err != nil {
				im.s.noticef("left out of the configuration: %s", err)
				continue
			}
			v.Config[k] = c.Config[k]
		}
	}
	v.Config[volatileUUID] = newUUID()
	for _, name := range in.Snapshots {
		sn := tree.VolumeSnapshot{Name: name, CreatedAt: v.CreatedAt}
		i := slices.IndexFunc(in.Config.VolumeSnapshots, func(s backup.Snapshot) bool { return s.Name == name })
		if i >= 0 {
			of := in.Config.VolumeSnapshots[i]
			sn.Description, sn.Config, sn.ExpiresAt = of.Description, of.Config, orZero(of.ExpiresAt)
			if !of.CreatedAt.IsZero() {
				sn.CreatedAt = of.CreatedAt.UTC()
			}
		}
		v.Snapshots = append(v.Snapshots, sn)
	}
	return v
}

// header reads which streams there are.
func (im *volumeImport) header(r io.Reader) error {
	raw, err := io.ReadAll(io.LimitReader(r, backup.MaxFile))
	if err != nil {
		return err
	}
	h, err := backup.ParseHeader(raw)
	if err != nil {
		return err
	}
	for _, sub := range h.Subvolumes {
		if sub.Path == "" {
			sub.Path = "/"
		}
		if sub.Snapshot != "" && !slices.Contains(im.index.Snapshots, sub.Snapshot) {
			return fmt.Errorf("it has a subvolume of the snapshot %q, which is not in its index", sub.Snapshot)
		}
		im.expect(sub)
	}
	return nil
}

func (im *volumeImport) expect(sub backup.Subvolume) {
	im.files[sub.File()] = tree.Member{Snapshot: sub.Snapshot, Path: sub.Path, ReadOnly: sub.ReadOnly, UUID: sub.UUID}
}

// tree is the state of the volume that an entry goes to, made when its first
// entry comes.
func (im *volumeImport) tree(snapshot string) (*unpacking, error) {
	if t, ok := im.trees[snapshot]; ok {
		return t, nil
	}
	root, err := im.stage.Root(snapshot)
	if err != nil {
		return nil, err
	}
	t := &unpacking{root, tarball.New(root, tarball.Policy{}, im.budget)}
	im.trees[snapshot] = t
	return t, nil
}

// finish makes the volume of what was read.
func (im *volumeImport) finish(ctx context.Context) error {
	if im.index == nil {
		return withHint(fmt.Errorf("it is no backup: it has no %s", backup.IndexFile), "poolctl pool volume export makes one")
	}
	if err := im.assemble(ctx); err != nil {
		return err
	}
	if err := im.s.limitVolume(ctx, im.p, im.vol.Name, im.stage.Path(), im.vol.Config, true); err != nil {
		return err
	}
	if err := im.stage.Sync(); err != nil {
		return err
	}
	return im.stage.Commit(ctx, im.vol)
}

func (im *volumeImport) assemble(ctx context.Context) error {
	if im.index.Optimized {
		if err := im.stage.Assemble(ctx); err != nil {
			return err
		}
		return im.checkComplete(func(snapshot string) bool { return im.stage.Has(snapshot) })
	}
	for snapshot, t := range im.trees {
		if err := t.Finish(); err != nil {
			return err
		}
		im.leftOut += t.LeftOut
		if snapshot != "" {
			if err := im.stage.SealSnapshot(snapshot); err != nil {
				return err
			}
		}
	}
	if im.leftOut > 0 {
		im.s.noticef("%d device nodes that reach hardware were left out of volume %s", im.leftOut, im.vol.Name)
	}
	return im.checkComplete(func(snapshot string) bool { return im.trees[snapshot] != nil })
}

// checkComplete refuses a backup that lacks what its index lists.
func (im *volumeImport) checkComplete(has func(snapshot string) bool) error {
	for _, snapshot := range append(slices.Clone(im.index.Snapshots), "") {
		if has(snapshot) {
			continue
		}
		if snapshot == "" {
			return errors.New("the backup does not hold the volume itself")
		}
		return fmt.Errorf("the backup does not hold the snapshot %q that its index lists", snapshot)
	}
	return nil
}
