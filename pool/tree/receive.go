package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"poolctl/btrfs"
	"poolctl/pool/crash"
)

// Receive reads the send stream of one member. Assemble makes the volume of all of them.
func (s *OwnerStage) Receive(ctx context.Context, m Member, r io.Reader) error {
	dir, err := s.Dir()
	if err != nil {
		return err
	}
	// Its name says how many there are: that of the member may be too long.
	name := fmt.Sprintf("r%d", len(s.received))
	if err := btrfs.Receive(ctx, dir, name, s.parents, r); err != nil {
		return fmt.Errorf("cannot receive %s: %w", m.what(), err)
	}
	crash.Point("tree.owner.received")
	s.received = append(s.received, m)
	return s.mayBeParent(filepath.Join(dir, name))
}

// mayBeParent has the streams that come find a subvolume in Dir as what they build on.
func (s *OwnerStage) mayBeParent(path string) error {
	sub, err := btrfs.Stat(path)
	if err == nil {
		if s.parents == nil {
			s.parents = map[string]string{}
		}
		s.parents[sub.StreamUUID()] = sub.UUID
	}
	return err
}

// Assemble makes the volume and its snapshots of what was received. The subvolumes that a member is nested in must have been
// received, too.
func (s *OwnerStage) Assemble(ctx context.Context) error {
	order := make([]int, 0, len(s.received))
	for i := range s.received {
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		depth := func(i int) int {
			if s.received[i].Path == "/" {
				return 0
			}
			return strings.Count(s.received[i].Path, "/")
		}
		return cmp.Compare(depth(a), depth(b))
	})
	for _, i := range order {
		if err := errors.Join(s.assemble(i), ctx.Err()); err != nil {
			return err
		}
	}
	for _, i := range slices.Backward(order) { // the deepest first
		if err := s.seal(i); err != nil {
			return err
		}
	}
	if ok, err := isSubvolume(s.Path()); err != nil || !ok {
		return errors.Join(errors.New("the volume itself is missing"), err)
	}
	// What was received is only the origin of what was made of it.
	dir, err := s.Dir()
	if err == nil {
		err = discard(ctx, dir)
	}
	return err
}

// assemble makes a writable snapshot of what was received where it belongs.
func (s *OwnerStage) assemble(i int) error {
	m := s.received[i]
	dir, err := s.Dir()
	if err != nil {
		return err
	}
	from := filepath.Join(dir, fmt.Sprintf("r%d", i))
	root, err := s.version(m.Snapshot)
	if err != nil {
		return err
	}
	if m.Path == "/" {
		return btrfs.Snapshot(from, root, false)
	}
	return btrfs.Nest(from, root, strings.TrimPrefix(m.Path, "/"))
}

// seal makes what is to be read-only read-only: snapshots, and what was that in the volume. A snapshot keeps the received UUID:
// what is sent later is sent as what differs from it.
func (s *OwnerStage) seal(i int) error {
	m := s.received[i]
	root, err := s.version(m.Snapshot)
	if err != nil || m.Path == "/" && m.Snapshot == "" || m.Snapshot == "" && !m.ReadOnly {
		return err
	}
	dir, err := s.Dir()
	// No link can be on the way: Nest made the last component, and found none before it.
	path := filepath.Join(root, m.Path)
	if err == nil && m.Snapshot != "" {
		err = btrfs.CopyReceived(filepath.Join(dir, fmt.Sprintf("r%d", i)), path)
	}
	if err == nil {
		err = btrfs.SetReadOnly(path, true)
	}
	return err
}
