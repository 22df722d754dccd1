package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"poolctl/btrfs/extents"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// trashKey says for how long a pool keeps what was deleted in it: a span such as
// "7d" or "2w 1d", or one of the words below.
const trashKey = "trash.expiry"

const (
	// defaultTrash is a span.
	defaultTrash = "7d"
	// trashNever keeps it until it is emptied, or its room is needed.
	trashNever = "never"
	// trashOff has no trash: what is deleted is gone.
	trashOff = "off"
)

// checkTrash takes the values of trashKey.
func checkTrash(v string) error {
	if v == trashNever || v == trashOff {
		return nil
	}
	if err := checkExpiry(v); err != nil {
		return withHint(errors.New("not a span of time"), "for example 7d or 2w; never keeps what is deleted until its room is needed, off deletes at once")
	}
	return nil
}

// trashSpan is for how long a pool keeps it: a span, trashNever or trashOff.
func trashSpan(rec state.PoolRecord) string {
	if v := rec.Config[trashKey]; v != "" {
		return v
	}
	return defaultTrash
}

// leavesTrash is when something that was deleted at that time goes for good; zero:
// never.
func leavesTrash(rec state.PoolRecord, at time.Time) time.Time {
	switch span := trashSpan(rec); span {
	case trashNever:
		return time.Time{}
	case trashOff:
		return at
	default:
		return addExpiry(at, span)
	}
}

// Trashed is something in the trash of a pool.
type Trashed struct {
	Name string `json:"name" yaml:"name"` // NAME/SNAPSHOT of a snapshot, the fingerprint of an image
	// Type is that of `pool usage`: container, custom or image, with " (snapshot)" of
	// a snapshot.
	Type    string   `json:"type" yaml:"type"`
	Pool    string   `json:"pool" yaml:"pool"`
	Aliases []string `json:"aliases,omitempty" yaml:"aliases,omitempty"` // of an image
	// Snapshots is how many snapshots come back with it.
	Snapshots int `json:"snapshots" yaml:"snapshots"`
	// Size is what only it has, which is free once it is deleted from the trash, in
	// bytes; nil when it is not known.
	Size      *uint64   `json:"size" yaml:"size"`
	DeletedAt time.Time `json:"deleted_at" yaml:"deleted_at"`
	// ExpiresAt is when it goes for good; zero: never.
	ExpiresAt time.Time `json:"expires_at" yaml:"expires_at"`
	// Problem says why it cannot be undeleted; "" when it can.
	Problem string `json:"problem,omitempty" yaml:"problem,omitempty"`

	id string
}

// TrashQuery says what of the trash is meant; the zero value: all of it, in all
// pools that lists show.
type TrashQuery struct {
	// Pool is the only one to look in.
	Pool string
	// Type is "container", "image" or "volume", or "custom", as a volume is called in
	// lists; "" for all. Snapshots are of the type of what they are of.
	Type string
	// Names are those of instances, volumes and snapshots of them (NAME/SNAPSHOT), and
	// aliases or beginnings of fingerprints; none for all.
	Names []string
}

// Trash lists what can be undeleted, in the order in which it was deleted. For what
// it takes, the trees of the pools are read that have something in their trash.
func (s *System) Trash(ctx context.Context, q TrashQuery) ([]Trashed, error) {
	out := []Trashed{}
	err := s.eachTrash(ctx, q, func(p *openedPool, found []Trashed) error {
		if len(found) > 0 {
			addTrashSizes(ctx, p, found)
		}
		out = append(out, found...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(a, b Trashed) int { return a.DeletedAt.Compare(b.DeletedAt) })
	return out, ctx.Err()
}

// eachTrash calls visit for each pool that is meant, with what is meant of its
// trash, the oldest first.
func (s *System) eachTrash(ctx context.Context, q TrashQuery, visit func(p *openedPool, found []Trashed) error) error {
	if err := checkTrashType(q.Type); err != nil {
		return err
	}
	if q.Pool != "" {
		return s.visitTrash(ctx, q.Pool, q, visit)
	}
	pools, err := s.shownPools()
	if err != nil {
		return err
	}
	for _, name := range pools {
		if err := s.leftOut(ctx, name, s.visitTrash(ctx, name, q, visit)); err != nil {
			return err
		}
	}
	return nil
}

// visitTrash is eachTrash of one pool.
func (s *System) visitTrash(ctx context.Context, pool string, q TrashQuery, visit func(p *openedPool, found []Trashed) error) error {
	p, err := s.openPool(ctx, pool)
	if err != nil {
		return err
	}
	found, err := trashOf(p, q)
	if err == nil {
		err = visit(p, found)
	}
	return errors.Join(err, p.close())
}

// checkTrashType refuses what is no type of TrashQuery.
func checkTrashType(typ string) error {
	if typ == "" || slices.Contains([]string{"container", "image", "volume", string(tree.TypeVolume)}, typ) {
		return nil
	}
	return withHint(fmt.Errorf("unknown type %q", typ), "the types are container, image and volume")
}

// trashOf is what is meant of a pool's trash.
func trashOf(p *openedPool, q TrashQuery) ([]Trashed, error) {
	all, err := p.Trash()
	if err != nil {
		return nil, err
	}
	out := []Trashed{}
	for _, it := range all {
		if word := typeWord(it.Type); q.Type != "" && q.Type != word && (q.Type != string(tree.TypeVolume) || word != "volume") {
			continue
		}
		if len(q.Names) > 0 && !slices.ContainsFunc(q.Names, func(name string) bool { return isTrashed(it, name) }) {
			continue
		}
		out = append(out, publicTrashed(p.rec, it))
	}
	return out, nil
}

func publicTrashed(rec state.PoolRecord, it tree.Trashed) Trashed {
	out := Trashed{
		Name: it.Name, Type: string(it.Type), Pool: rec.Name, Aliases: it.Aliases, Snapshots: it.Snapshots, DeletedAt: it.DeletedAt,
		ExpiresAt: leavesTrash(rec, it.DeletedAt), id: it.ID,
	}
	if it.Broken != nil {
		out.Name, out.Problem = it.ID, it.Broken.Error()
	}
	return out
}

// typeWord is the type of TrashQuery that something has.
func typeWord(kind tree.ObjectType) string {
	switch kind {
	case tree.TypeInstance, tree.TypeInstanceSnapshot:
		return "container"
	case tree.TypeVolume, tree.TypeVolumeSnapshot:
		return "volume"
	case tree.TypeImage:
		return "image"
	default:
		return ""
	}
}

// isTrashed says whether a name means something in the trash.
func isTrashed(it tree.Trashed, name string) bool {
	return it.Name == name || it.Broken != nil && it.ID == name || slices.Contains(it.Aliases, name) ||
		it.Type == tree.TypeImage && isFingerprintPrefix(name) && strings.HasPrefix(it.Name, name)
}

// addTrashSizes finds out what each takes. What cannot be found out stays unknown.
func addTrashSizes(ctx context.Context, p *openedPool, found []Trashed) {
	objects, err := p.Objects()
	if err != nil {
		return
	}
	sharing, err := extents.Read(ctx, p.Path(), extents.Options{})
	if err != nil {
		return
	}
	for i := range found {
		for _, ob := range objects {
			if ob.Type != tree.TypeTrash || ob.Name != found[i].id {
				continue
			}
			if u, err := usageIn(sharing, ob.Subvolumes); err == nil {
				size := u.Exclusive.Total()
				found[i].Size = &size
			}
		}
	}
}
