package pool

import (
	"context"
	"errors"
	"fmt"

	petname "github.com/dustinkirkland/golang-petname"

	"poolctl/pool/tree"
)

// Create makes an instance from an image, [REMOTE:]IMAGE, and returns its name.
// An image that is not in the pool is pulled first. The instance is a snapshot
// of the image's subvolume: it is made at once, whatever the image's size. With a
// template there is no image: see createOfTemplate.
func (s *System) Create(ctx context.Context, o CreateOptions) (name string, err error) {
	if err := checkNew(o.Name, o.Config); err != nil {
		return "", err
	}
	pool, err := s.poolForImage(ctx, o)
	if err != nil {
		return "", err
	}
	p, err := s.openPool(ctx, pool)
	if err != nil {
		return "", err
	}
	var image tree.ImageRecord
	defer func() {
		if err = errors.Join(err, p.close()); err == nil && image.Cached {
			s.expireAfterCaching(ctx, p.rec)
		}
	}()
	if o.Name, err = s.freeName(ctx, o.Name); err != nil {
		return "", err
	}
	unlock, err := s.dir.LockInstance(ctx, o.Name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := s.takeName(ctx, o.Name); err != nil {
		return "", err
	}
	if o.Template != "" {
		return o.Name, s.createOfTemplate(ctx, p, o)
	}
	image, unlockImage, err := s.imageFor(ctx, p, o)
	if err != nil {
		return "", fmt.Errorf("cannot create instance %s: %w", o.Name, err)
	}
	defer unlockImage()
	profiles := o.Profiles
	if profiles == nil {
		profiles = s.imageProfiles(image)
	}
	unlockProfiles, err := s.dir.LockProfiles(ctx, true)
	if err != nil {
		return "", err
	}
	defer unlockProfiles()
	rec, err := s.newRecord(ctx, o, p.rec, profiles, image)
	if err != nil {
		return "", fmt.Errorf("cannot create instance %s: %w", o.Name, err)
	}
	unlockClaims, err := s.claimNew(ctx, rec)
	if err != nil {
		return "", fmt.Errorf("cannot create instance %s: %w", o.Name, err)
	}
	defer unlockClaims()
	if rec.Limit, err = s.limitOf(ctx, p, rec); err != nil {
		return "", fmt.Errorf("cannot create instance %s: %w", o.Name, err)
	}
	if err := s.needSpace(ctx, p.rec, sharingNeed("an instance")); err != nil {
		return "", fmt.Errorf("cannot create instance %s: %w", o.Name, err)
	}
	if err := s.withRoom(ctx, p, "an instance", func() error { return p.CreateInstance(ctx, rec, image.Fingerprint) }); err != nil {
		return "", s.hintFull(p.rec, createError(err, o.Name, image, rec.Limit))
	}
	return o.Name, nil
}

// imageProfiles are the profiles of an instance for which none are named: those
// of its image, as far as they are here, or the default one.
func (s *System) imageProfiles(image tree.ImageRecord) []string {
	if image.Profiles == nil {
		return []string{defaultProfile}
	}
	out := []string{}
	for _, name := range image.Profiles {
		if _, err := s.profile(name); err != nil { // the pool comes from another machine
			s.noticef("profile %s of image %s is left out: %s", name, image.Fingerprint[:12], err)
			continue
		}
		out = append(out, name)
	}
	return out
}

// createError names what an image is too large for.
func createError(err error, name string, image tree.ImageRecord, size int64) error {
	if over, ok := errors.AsType[*tree.OverLimitError](err); ok {
		return withHint(fmt.Errorf("cannot create instance %s: its size is %s, and image %s takes %s", name, FormatSize(size), image.Fingerprint[:12], FormatSize(over.Used)), "give it a larger size: --device root,size=...")
	}
	return err
}

// checkNew checks what a user says of a new instance: its name, unless it is
// "", and its configuration.
func checkNew(name string, config map[string]string) error {
	if name != "" {
		if err := tree.ValidateInstanceName(name); err != nil {
			return fmt.Errorf("cannot create instance %q: %w", name, err)
		}
	}
	if err := checkInstanceConfig(config); err != nil {
		what := "instance " + name
		if name == "" {
			what = "an instance"
		}
		return fmt.Errorf("cannot create %s: %w", what, err)
	}
	return nil
}

// freeName refuses a name that is taken in any pool, and invents one for "".
func (s *System) freeName(ctx context.Context, name string) (string, error) {
	for range 100 {
		try := name
		if name == "" {
			try = petname.Generate(2, "-")
		}
		p, _, err := s.findInstance(ctx, try)
		if errors.Is(err, ErrNotFound) {
			return try, nil
		}
		if err != nil {
			return "", err
		}
		if err := p.close(); err != nil {
			return "", err
		}
		if name != "" {
			return "", fmt.Errorf("cannot create instance %s: %w", name, ErrExists)
		}
	}
	return "", errors.New("cannot create instance: no free name found")
}
