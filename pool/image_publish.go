package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"poolctl/btrfs"
	"poolctl/images"
	"poolctl/pool/crash"
	"poolctl/pool/tree"
	"poolctl/remotes"
)

// PublishOptions are the arguments of Publish.
type PublishOptions struct {
	// NewImageOptions: the pool is that of the instance; Properties, if there are
	// any, replace those that the instance's image had, as in Incus.
	NewImageOptions
	PackOptions
	Instance  string    // NAME, or NAME/SNAP for a snapshot
	ExpiresAt time.Time // zero = as its image says
	Force     bool      // stop it while it is read, and start it again
}

// Publish makes an image of an instance, or of a snapshot of one, in its pool. It
// is packed of a snapshot that is taken at once, so that an instance that was
// stopped for it runs again after a moment. The owners are those that are seen
// inside; subvolumes become directories. What is packed of the same snapshot is the
// same each time. The image shares its files with the instance.
func (s *System) Publish(ctx context.Context, o PublishOptions) (_ Image, err error) {
	fail := func(err error) error { return fmt.Errorf("cannot publish %s: %w", o.Instance, err) }
	how, err := parsePacking(o.PackOptions)
	if err != nil {
		return Image{}, fail(err)
	}
	name, snap, _ := strings.Cut(o.Instance, "/")
	in, err := s.lockInstance(ctx, name)
	if err != nil {
		return Image{}, err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	pb := &publishing{s: s, in: in, o: o, snap: snap, how: how}
	rec, err := pb.run(ctx)
	if err != nil {
		return Image{}, fail(s.hintFull(in.openedPool.rec, err))
	}
	return publicImage(rec, in.openedPool.rec.Name), nil
}

// publishing is a Publish on its way.
type publishing struct {
	s     *System
	in    *lockedInstance
	o     PublishOptions
	snap  string
	how   packing
	stage *tree.Stage
	rec   tree.Instance // of what is published
	at    time.Time     // of what is published
}

func (pb *publishing) run(ctx context.Context) (rec tree.ImageRecord, err error) {
	if err := pb.o.check(pb.in.Tree); err != nil {
		return rec, err
	}
	path, err := pb.find()
	if err != nil {
		return rec, err
	}
	if pb.stage, err = pb.in.StageImage(ctx); err != nil {
		return rec, err
	}
	watch := pb.s.watchSpace(ctx, pb.in.openedPool.rec, "the image")
	defer func() {
		watch.stop()
		err = errors.Join(watch.cause(err), pb.stage.Abort()) // nothing, once it is committed
		if isFull(err) {
			err = errors.Join(err, pb.s.awaitFreed(pb.in.openedPool.rec))
		}
	}()
	frozen, err := pb.freeze(ctx, path)
	if err != nil {
		return rec, err
	}
	// The instance is free again; its pool is kept.
	pb.in.unlock()
	pb.in.unlock = func() {}
	ctx = watch.ctx
	names, err := pb.pack(ctx, frozen)
	if err != nil {
		return rec, err
	}
	crash.Point("pool.publish.packed")
	o := pb.o.NewImageOptions
	o.derived = len(o.Properties) == 0
	o.Properties = nil // they are in its metadata.yaml
	o.base = frozen
	return pb.s.commitOriginals(ctx, pb.in.openedPool, pb.stage, watch, names, "", o)
}

// find is the volume to publish.
func (pb *publishing) find() (path string, err error) {
	in := pb.in
	name := in.rec.Name
	if pb.snap == "" {
		pb.rec, pb.at = in.rec, time.Now()
		return in.InstancePath(name), in.rec.Broken
	}
	if path, err = in.SnapshotPath(name, pb.snap); err != nil {
		return "", snapshotError(err, name)
	}
	if pb.rec, err = in.InstanceAt(name, pb.snap); err != nil {
		return "", err
	}
	for _, sn := range in.rec.Snapshots {
		if sn.Name == pb.snap {
			pb.at = sn.CreatedAt
		}
	}
	return path, pb.rec.Broken
}

// freeze takes the snapshot. An instance that runs is stopped for it, if that was
// asked for, and started again whatever comes of it.
func (pb *publishing) freeze(ctx context.Context, path string) (frozen string, err error) {
	name := pb.in.rec.Name
	if pb.snap == "" && pb.s.isRunning(name) {
		if !pb.o.Force {
			return "", withHint(errors.New("it is running"), "--force stops it and starts it again; a snapshot can be published meanwhile: poolctl publish %s/SNAPSHOT", name)
		}
		if err := pb.s.stopLocked(ctx, pb.in, StopOptions{Force: true}); err != nil {
			return "", fmt.Errorf("cannot stop it: %w", err)
		}
		defer func() {
			rec, serr := pb.in.Instance(name)
			if serr == nil {
				pb.in.rec = rec
				serr = pb.s.startLocked(context.WithoutCancel(ctx), pb.in)
			}
			if serr != nil {
				err = errors.Join(err, fmt.Errorf("cannot start it again: %w", serr))
			}
		}()
	}
	return pb.stage.Freeze(ctx, path)
}

// pack packs what was frozen into the stage's original files.
func (pb *publishing) pack(ctx context.Context, frozen string) ([]string, error) {
	size, err := btrfs.Referenced(ctx, frozen)
	if err != nil {
		return nil, err
	}
	// The packed files, a third at least; what they are unpacked to is shared, where it can be.
	need := spaceNeed{what: "the image", least: int64(size) / 3, most: int64(size) + int64(size)/2}
	if err := pb.s.needSpace(ctx, pb.in.openedPool.rec, need); err != nil {
		return nil, err
	}
	src := &images.Source{Report: func(n int64) { pb.o.progress(Progress{Name: "pack", Done: n}) }}
	if src.Metadata, err = pb.metadata(frozen); err != nil {
		return nil, err
	}
	if src.Templates, err = images.ReadTemplates(frozen); err != nil {
		return nil, err
	}
	if src.Root, err = openInsideRoot(frozen, pb.rec.Config); err != nil {
		return nil, err
	}
	defer func() { _ = src.Root.Close() }() // opened for reading
	if err := pb.s.choosePacking(ctx, &pb.how, src.Root); err != nil {
		return nil, err
	}
	return pack(ctx, src, pb.how, pb.stage.Original)
}

// openInsideRoot opens the root in the volume of an instance with the owners that
// are seen inside.
func openInsideRoot(volume string, config map[string]string) (*os.File, error) {
	root := filepath.Join(volume, "rootfs")
	view, err := openRootView(root, config)
	if err != nil || view == nil {
		if err == nil {
			view, err = openPlainDir(root)
		}
		return view, err
	}
	// What is opened beneath a path-only descriptor is of the same mount.
	dir, err := os.OpenFile(fdPath(view)+"/.", os.O_RDONLY, 0)
	return dir, errors.Join(err, view.Close())
}

// metadata is the metadata.yaml of the image: that of the instance, with another
// date and what was given; or one made of what is known of it.
func (pb *publishing) metadata(frozen string) (*images.Metadata, error) {
	var m *images.Metadata
	_, err := os.Lstat(filepath.Join(frozen, "metadata.yaml"))
	if err == nil {
		m, err = images.ReadMetadata(frozen)
	} else if errors.Is(err, fs.ErrNotExist) {
		m, err = pb.knownMetadata(), nil
	}
	if err != nil {
		return nil, err
	}
	m.CreationDate = pb.at.Unix()
	if !pb.o.ExpiresAt.IsZero() {
		m.ExpiryDate = pb.o.ExpiresAt.Unix()
	}
	if len(pb.o.Properties) > 0 {
		m.Properties = pb.o.Properties
	}
	return m, nil
}

// knownMetadata is what is known of an instance that has no metadata.yaml.
func (pb *publishing) knownMetadata() *images.Metadata {
	m := &images.Metadata{Architecture: pb.rec.Architecture, Properties: map[string]string{}, Templates: map[string]*images.Template{}}
	for k, v := range pb.rec.Config {
		if key, ok := strings.CutPrefix(k, "image."); ok {
			m.Properties[key] = v
		}
	}
	if m.Architecture == "" {
		m.Architecture = remotes.NativeArch()
	}
	return m
}
