package pool

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"poolctl/btrfs/diff"
	"poolctl/pool/tree"
	"poolctl/runtime"
)

// FileState is what a file is on one side of a diff.
type FileState struct {
	Type string `json:"type" yaml:"type"` // file, directory, symlink, char, block, fifo, socket
	Mode string `json:"mode" yaml:"mode"` // permissions, octal
	UID  uint32 `json:"uid" yaml:"uid"`   // inside
	GID  uint32 `json:"gid" yaml:"gid"`
	Size int64  `json:"size" yaml:"size"` // bytes, of files and symbolic links
}

// FileChange is one path that differs.
type FileChange struct {
	// Path is that on the second side; of what was removed, that on the first. With
	// bytes that are no UTF-8 it is QuotePath's, and PathBase64 has the bytes.
	Path       string `json:"path" yaml:"path"`
	PathBase64 string `json:"path_base64,omitempty" yaml:"path_base64,omitempty"`
	// From is the path that it was renamed from, in the same way.
	From       string `json:"from,omitempty" yaml:"from,omitempty"`
	FromBase64 string `json:"from_base64,omitempty" yaml:"from_base64,omitempty"`
	// Change is added, removed, renamed, modified (content or type) or changed
	// (attributes).
	Change string `json:"change" yaml:"change"`
	// What differs: type, content, device, mode, owner, xattrs, flags.
	What   []string   `json:"what,omitempty" yaml:"what,omitempty"`
	Before *FileState `json:"before,omitempty" yaml:"before,omitempty"`
	After  *FileState `json:"after,omitempty" yaml:"after,omitempty"`
}

// DiffCount is how many paths changed in one way.
type DiffCount struct {
	Paths int `json:"paths" yaml:"paths"`
	// Before and After are the sizes of these files together, in bytes.
	Before int64 `json:"before" yaml:"before"`
	After  int64 `json:"after" yaml:"after"`
}

// DiffStat counts the changes by their kind.
type DiffStat struct {
	Added    DiffCount `json:"added" yaml:"added"`
	Removed  DiffCount `json:"removed" yaml:"removed"`
	Renamed  DiffCount `json:"renamed" yaml:"renamed"`
	Modified DiffCount `json:"modified" yaml:"modified"`
	Changed  DiffCount `json:"changed" yaml:"changed"`
	Total    DiffCount `json:"total" yaml:"total"`
}

// Diff lists what differs between the roots of two instances or snapshots, sorted
// by path, without reading files (package btrfs/diff). first is NAME or
// NAME/SNAPSHOT; second is the same, or a snapshot of NAME by its name alone, or ""
// for NAME as it is now.
func (s *System) Diff(ctx context.Context, first, second string) (out []FileChange, err error) {
	name, snap, isSnap := strings.Cut(first, "/")
	switch {
	case second == "" && !isSnap:
		return nil, fmt.Errorf("cannot compare %s with itself", name)
	case second == "":
		second = name
	case !strings.Contains(second, "/"):
		if second, err = s.resolveSecond(ctx, name, second); err != nil {
			return nil, err
		}
	}
	if isSnap && snap == "" || strings.HasSuffix(second, "/") {
		return nil, fmt.Errorf("cannot compare %s with %s: a name ends in /, but names no snapshot", first, second)
	}
	from, err := s.openDiffSide(ctx, first)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	to, err := s.openDiffSide(ctx, second)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, to.close()) }()
	changes, assumed, err := diff.Compare(ctx, from.side, to.side)
	if err != nil {
		return nil, fmt.Errorf("cannot compare %s with %s: %w", first, second, err)
	}
	if assumed > 0 {
		s.noticef("of %s and %s, files that share no data but have the same size and time of modification count as the same: %d of them", first, second, assumed)
	}
	out = make([]FileChange, 0, len(changes))
	for _, c := range changes {
		out = append(out, publicChange(c))
	}
	return out, nil
}

// resolveSecond is what a word without a slash means: a snapshot of the instance,
// or else another instance.
func (s *System) resolveSecond(ctx context.Context, name, word string) (string, error) {
	p, _, err := s.findInstance(ctx, name)
	if err != nil {
		return "", err
	}
	_, err = p.SnapshotPath(name, word)
	if cerr := p.close(); cerr != nil {
		return "", cerr
	}
	if err == nil {
		return name + "/" + word, nil
	}
	p, _, oerr := s.findInstance(ctx, word)
	if oerr == nil {
		return word, p.close()
	}
	return "", fmt.Errorf("cannot find snapshot %s/%s: %w", name, word, snapshotError(err, name))
}

// diffSide is one side of a diff.
type diffSide struct {
	side  diff.Side
	close func() error
}

func (s *System) openDiffSide(ctx context.Context, ref string) (_ diffSide, err error) {
	name, snap, _ := strings.Cut(ref, "/")
	p, rec, err := s.findInstance(ctx, name)
	if err != nil {
		return diffSide{}, err
	}
	out := diffSide{side: diff.Side{Dir: "rootfs"}, close: p.close}
	defer func() {
		if err != nil {
			err = errors.Join(err, out.close())
		}
	}()
	if snap != "" {
		if out.side.Volume, err = p.SnapshotPath(name, snap); err != nil {
			return out, fmt.Errorf("cannot find snapshot %s: %w", ref, snapshotError(err, name))
		}
		if rec, err = p.InstanceAt(name, snap); err != nil {
			return out, err
		}
	} else {
		frozen, err := p.FreezeInstance(ctx, tree.Source{Name: name}, nil, nil)
		switch {
		case errors.Is(err, unix.EROFS): // the pool is read-only: nobody writes
			out.side.Volume = p.InstancePath(name)
		case err != nil:
			return out, s.hintFull(p.rec, err)
		default:
			out.side.Volume = frozen.Path()
			out.close = func() error {
				err := frozen.Close()
				s.pruneQgroups(p)
				return errors.Join(err, p.close())
			}
		}
	}
	uids, gids, err := diskMaps(rec.Config)
	if err != nil {
		return out, fmt.Errorf("cannot compare %s: %w", ref, err)
	}
	if uids != nil {
		out.side.IDs = func(id uint32, group bool) uint32 {
			if group {
				return insideID(id, gids)
			}
			return insideID(id, uids)
		}
	}
	return out, nil
}

// insideID is the id inside of one on disk; 65534, nobody, for one that is none.
func insideID(id uint32, maps []runtime.IDMap) uint32 {
	for _, m := range maps {
		if id >= m.HostID && id-m.HostID < m.Size {
			return m.ContainerID + (id - m.HostID)
		}
	}
	return 65534
}

func publicChange(c diff.Change) FileChange {
	out := FileChange{Change: string(c.Kind), Before: publicState(c.Before), After: publicState(c.After)}
	out.Path, out.PathBase64 = publicPath(c.Path)
	out.From, out.FromBase64 = publicPath(c.From)
	for _, w := range c.What {
		out.What = append(out.What, string(w))
	}
	return out
}

func publicPath(path string) (text, raw string) {
	if utf8.ValidString(path) {
		return path, ""
	}
	return QuotePath(path), base64.StdEncoding.EncodeToString([]byte(path))
}

func publicState(s *diff.State) *FileState {
	if s == nil {
		return nil
	}
	types := map[uint32]string{
		unix.S_IFREG: "file", unix.S_IFDIR: "directory", unix.S_IFLNK: "symlink", unix.S_IFCHR: "char", unix.S_IFBLK: "block",
		unix.S_IFIFO: "fifo", unix.S_IFSOCK: "socket",
	}
	return &FileState{Type: types[s.Mode&unix.S_IFMT], Mode: fmt.Sprintf("%04o", s.Mode&0o7777), UID: s.UID, GID: s.GID, Size: s.Size}
}

// CountDiff counts changes.
func CountDiff(changes []FileChange) DiffStat {
	var out DiffStat
	kinds := map[string]*DiffCount{
		string(diff.Added): &out.Added, string(diff.Removed): &out.Removed, string(diff.Renamed): &out.Renamed,
		string(diff.Modified): &out.Modified, string(diff.Changed): &out.Changed,
	}
	for _, c := range changes {
		for _, n := range []*DiffCount{kinds[c.Change], &out.Total} {
			n.Paths++
			if c.Before != nil {
				n.Before += c.Before.Size
			}
			if c.After != nil {
				n.After += c.After.Size
			}
		}
	}
	return out
}
