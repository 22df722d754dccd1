package pool

import (
	"context"
	"errors"
	"fmt"
	"io"

	"poolctl/remotes"
)

// PlanPull says what a pull of an image would take, without downloading it. One
// that is in the pool already takes nothing.
func (s *System) PlanPull(ctx context.Context, ref string, o PullOptions) (SpacePlan, error) {
	c, _, name, err := s.pullSource(ref, o)
	if err != nil {
		return SpacePlan{}, err
	}
	p, err := s.openTarget(ctx, o.Pool)
	if err != nil {
		return SpacePlan{}, err
	}
	defer func() { _ = p.close() }()
	want, err := c.Find(ctx, name, remotes.Want{Arch: o.Arch, Type: o.Type})
	if err != nil {
		return SpacePlan{}, err
	}
	need := imageNeed(want)
	if _, err := p.Image(want.Fingerprint); err == nil {
		need = spaceNeed{what: need.what + ", which is there already,"}
	} else if ignoreNotExist(err) != nil {
		return SpacePlan{}, err
	}
	return s.planWithTrash(ctx, p, need)
}

// planWithTrash is planSpace for who only asks: where the pool has too little, what is
// in its trash counts, which needSpace deletes.
func (s *System) planWithTrash(ctx context.Context, p *openedPool, need spaceNeed) (SpacePlan, error) {
	plan, err := s.planSpace(ctx, p.rec, need)
	if err != nil || !plan.lacksPoolRoom() {
		return plan, err
	}
	size, err := trashSize(ctx, p.Tree)
	if err != nil {
		return plan, err
	}
	return plan.withTrash(size), nil
}

// PlanCopyVolume says what CopyVolume would take; nothing is copied.
func (s *System) PlanCopyVolume(ctx context.Context, o CopyVolumeOptions) (plan SpacePlan, err error) {
	if plan, err = s.planCopyVolume(ctx, o); err != nil {
		return plan, fmt.Errorf("cannot copy volume %s: %w", o.ref(), err)
	}
	return plan, nil
}

func (s *System) planCopyVolume(ctx context.Context, o CopyVolumeOptions) (plan SpacePlan, err error) {
	c, err := s.openVolumeCopy(ctx, o, false)
	if err != nil {
		return plan, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	need, err := copyNeed(ctx, c.p, c.target, c.from, c.v)
	if err != nil {
		return plan, err
	}
	return s.planWithTrash(ctx, c.target, need)
}

// PlanImportVolume says what ImportVolume would take of a pool for the backup r,
// of which nothing is read. A pipe does not say how much is in it.
func (s *System) PlanImportVolume(ctx context.Context, pool string, r io.Reader) (plan SpacePlan, err error) {
	p, err := s.openPool(ctx, pool)
	if err != nil {
		return plan, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	need, known, err := backupNeed(r)
	if err == nil && !known {
		err = errors.New("only a file says how large it is")
	}
	if err == nil {
		plan, err = s.planWithTrash(ctx, p, need)
	}
	if err != nil {
		err = fmt.Errorf("cannot plan an import: %w", err)
	}
	return plan, err
}
