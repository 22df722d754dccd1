package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"poolctl/images/rootfs"
	"poolctl/pool/tree"
	"poolctl/remotes"
)

// EmptyTemplate is the template of an empty root filesystem.
const EmptyTemplate = "none"

// Templates lists what CreateOptions.Template can be.
func Templates() []string { return rootfs.Names() }

// createOfTemplate makes an instance whose root filesystem is made here, of what
// the host has. It is whole when it is there. The caller has the name's lock.
func (s *System) createOfTemplate(ctx context.Context, p *openedPool, o CreateOptions) error {
	unlockProfiles, err := s.dir.LockProfiles(ctx, true)
	if err != nil {
		return err
	}
	defer unlockProfiles()
	t, rec, err := s.openTemplate(ctx, p, o)
	if err != nil {
		return fmt.Errorf("cannot create instance %s: %w", o.Name, err)
	}
	unlockClaims, err := s.claimNew(ctx, rec)
	if err != nil {
		return fmt.Errorf("cannot create instance %s: %w", o.Name, err)
	}
	defer unlockClaims()
	err = p.BuildInstance(ctx, rec, t.Fill)
	if over, ok := errors.AsType[*tree.OverLimitError](err); ok {
		return withHint(fmt.Errorf("cannot create instance %s: its size is %s, and template %s takes %s", o.Name, FormatSize(rec.Limit), o.Template, FormatSize(over.Used)),
			"give it a larger size: --device root,size=...")
	}
	return s.hintFull(p.rec, err)
}

// openTemplate finds the template, and gives the record of what it is to make.
func (s *System) openTemplate(ctx context.Context, p *openedPool, o CreateOptions) (*rootfs.Template, tree.Instance, error) {
	t, err := rootfs.Open(ctx, o.Template)
	if errors.Is(err, rootfs.ErrUnknown) {
		err = withHint(err, "the templates are: %s", strings.Join(Templates(), ", "))
	}
	if err != nil {
		return nil, tree.Instance{}, err
	}
	m := &t.Metadata
	m.Architecture, m.CreationDate = remotes.NativeArch(), time.Now().Unix()
	m.Properties["architecture"] = m.Architecture
	profiles := o.Profiles
	if profiles == nil {
		profiles = []string{defaultProfile}
	}
	rec, err := s.newRecord(ctx, o, p.rec, profiles, tree.ImageRecord{Architecture: m.Architecture, Properties: m.Properties})
	if err == nil {
		rec.Limit, err = s.limitOf(ctx, p, rec)
	}
	if err == nil {
		need := sharingNeed("an instance")
		need.least, need.most, need.size = t.Need, t.Need, rec.Limit
		err = s.needSpace(ctx, p.rec, need)
	}
	return t, rec, err
}
