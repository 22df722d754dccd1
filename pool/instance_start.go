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

	"poolctl/images"
	"poolctl/pool/tree"
	"poolctl/runtime"
)

// applyTemplateKey has the occasion of which templates are due at the next start.
const applyTemplateKey = "volatile.apply_template"

// Start starts an instance: its networks are brought up, the image's templates
// applied, and its own init run as PID 1. It returns when init runs.
func (s *System) Start(ctx context.Context, name string) (err error) {
	in, err := s.lockInstance(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if err := s.startLocked(ctx, in); err != nil {
		return fmt.Errorf("cannot start %s: %w", name, err)
	}
	return nil
}

func (s *System) startLocked(ctx context.Context, in *lockedInstance) (err error) {
	name := in.rec.Name
	if s.isRunning(name) {
		if paused, err := s.resumePaused(name); err != nil || paused {
			return err
		}
		return withHint(errors.New("it is running already"), "poolctl restart %s starts it anew", name)
	}
	if in.rec.Broken != nil {
		return in.rec.Broken
	}
	if err := s.checkStartable(name); err != nil {
		return err
	}
	if err := s.reexpandKnown(&in.rec); err != nil { // its pool may have been detached when a profile was changed
		return err
	}
	if isTrue(in.rec.ExpandedConfig[protectStartKey]) {
		return protected(name, protectStartKey)
	}
	linux32, err := checkArch(ctx, in.rec.Architecture)
	if err != nil {
		return err
	}
	if err := requirementsHere(in.rec.Config, "image.", in.rec.ExpandedConfig); err != nil {
		return err
	}
	s.keepInstanceLimit(ctx, in)
	spec, err := s.specOf(ctx, in) // what is wrong with the configuration comes before a network is made
	if err != nil {
		return err
	}
	spec.Linux32 = linux32
	unlock, err := s.claimListens(ctx, name, spec.Proxies)
	if err != nil {
		return err
	}
	defer unlock()
	plugged, err := s.dir.LockNetworks(ctx, true)
	if err != nil {
		return err
	}
	defer plugged()
	if spec.NICs, err = s.nics(ctx, in); err != nil {
		return err
	}
	disks, release, err := s.mountable(ctx, disksOf(in.rec.ExpandedDevices))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := s.snapshotAtStart(ctx, in); err != nil {
		return err
	}
	if err := in.WithHeadroom(name, func() error { return s.applyTemplates(ctx, in) }); err != nil {
		return fullError(err, in.rec)
	}
	if err := in.WithHeadroom(name, func() error { return s.keepResolver(ctx, in, spec.NICs) }); err != nil {
		s.noticef("%s has no resolver from outside: %s", name, err) // one that cannot be told still runs
	}
	spec.Disks = disks
	if err := runtime.Start(ctx, spec); err != nil {
		return err
	}
	s.notePower(in, "RUNNING", func(r *tree.Instance) {
		r.LastUsedAt = time.Now().UTC()
		delete(r.Config, applyTemplateKey)
	})
	return nil
}

// notePower records whether an instance runs, and change with it. It was started
// or stopped by then, whatever becomes of its record: that it could not be
// written is told and no error.
func (s *System) notePower(in *lockedInstance, power string, change func(*tree.Instance)) {
	_, err := in.UpdateInstance(in.rec.Name, func(r *tree.Instance) error {
		change(r)
		r.Config[powerKey] = power
		return s.reexpandKnown(r)
	})
	if err != nil {
		s.noticef("%s is %s, and its record does not say so: %s", in.rec.Name, strings.ToLower(power), err)
	}
}

// applyTemplates writes the files that the image wants written: those of the
// deferred trigger (create, copy), then those of start.
func (s *System) applyTemplates(ctx context.Context, in *lockedInstance) (err error) {
	inst := images.TemplateInstance{
		Name: in.rec.Name, Type: "container", Architecture: in.rec.Architecture, Ephemeral: in.rec.Ephemeral,
		Config: in.rec.ExpandedConfig, Devices: in.rec.ExpandedDevices, Properties: map[string]string{},
	}
	if _, err := os.Lstat(filepath.Join(in.InstancePath(in.rec.Name), "metadata.yaml")); errors.Is(err, fs.ErrNotExist) {
		return nil // an empty root, ours or LXD's
	}
	view, err := openRootView(filepath.Join(in.InstancePath(in.rec.Name), "rootfs"), in.rec.Config)
	if err != nil {
		return err
	}
	if view != nil {
		defer func() { err = errors.Join(err, view.Close()) }()
		inst.Rootfs = fdPath(view)
	}
	for k, v := range in.rec.Config {
		if key, ok := strings.CutPrefix(k, "image."); ok {
			inst.Properties[key] = v
		}
	}
	triggers := []string{"start"}
	if t := in.rec.Config[applyTemplateKey]; t != "" {
		triggers = []string{t, "start"}
	}
	for _, t := range triggers {
		if err := images.ApplyTemplates(ctx, in.InstancePath(in.rec.Name), t, inst); err != nil {
			return err
		}
	}
	return nil
}
