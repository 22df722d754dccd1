package pool

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"poolctl/pool/tree"
	"poolctl/runtime"
)

// minIsolated is how many ids an instance with a range of its own has, unless its
// configuration says otherwise, as in Incus.
const minIsolated = 65536

// The volatile keys of the ids that an instance had when it was started last: the
// first one of a range of its own, "0" without one, and all of them as in
// lastIDMap; and of those that it is to have, as far as is known before it starts.
// They say nothing about its files, which have the ids of the image.
const (
	volatileBase    = "volatile.idmap.base"
	volatileCurrent = tree.IDMapCurrentKey
	volatileNext    = tree.IDMapNextKey
)

// idMaps says what ids on the host an instance has that is to be started, and
// notes them in its record. An instance with security.idmap.isolated gets a
// range that no other instance of the attached pools has noted. Because nothing
// on disk depends on it, a range may be another one at the next start.
func (s *System) idMaps(ctx context.Context, in *lockedInstance) (uids, gids []runtime.IDMap, err error) {
	config := in.rec.ExpandedConfig
	if isTrue(config[privilegedKey]) {
		return runtime.HostIDMap(), runtime.HostIDMap(), s.noteIDs(in, "0", noIDMap)
	}
	if uids, gids, err = runtime.DefaultIDMap(); err != nil {
		return nil, nil, err
	}
	raw, err := parseRawIDMap(config[rawIDMapKey])
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", rawIDMapKey, err)
	}
	if !isTrue(config[isolatedKey]) {
		if uids, gids, err = raw.over(uids, gids); err != nil {
			return nil, nil, err
		}
		return uids, gids, s.noteIDs(in, "0", formatIDMap(uids, gids))
	}
	unlock, err := s.dir.LockIDMaps(ctx) // until the range is noted
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	own, err := s.isolatedRange(ctx, in.rec, uids[0], gids[0])
	if err != nil {
		return nil, nil, err
	}
	if uids, gids, err = raw.over([]runtime.IDMap{own}, []runtime.IDMap{own}); err != nil {
		return nil, nil, err
	}
	return uids, gids, s.noteIDs(in, strconv.FormatUint(uint64(own.HostID), 10), formatIDMap(uids, gids))
}

// noteIDs notes which ids an instance has, and the first one of a range of its own.
func (s *System) noteIDs(in *lockedInstance, base, ids string) error {
	noted := map[string]string{volatileBase: base, volatileCurrent: ids, volatileNext: ids}
	same := true
	for k, v := range noted {
		same = same && in.rec.Config[k] == v
	}
	if same {
		return nil
	}
	rec, err := in.UpdateInstance(in.rec.Name, func(r *tree.Instance) error {
		maps.Copy(r.Config, noted)
		return s.reexpandKnown(r)
	})
	if err == nil {
		in.rec = rec
	}
	return err
}

// firstIDs are the ids of a new instance, as in LXD's records. One with a range of
// its own, or with raw.idmap, gets others when it starts.
func firstIDs(expanded map[string]string) string {
	if isTrue(expanded[privilegedKey]) {
		return noIDMap
	}
	uids, gids, err := runtime.DefaultIDMap()
	if err != nil { // the start says so
		return noIDMap
	}
	return formatIDMap(uids, gids)
}

// isolatedRange finds a range of ids for an instance within those of the host,
// which begin with the ones that the other instances share.
func (s *System) isolatedRange(ctx context.Context, rec tree.Instance, uids, gids runtime.IDMap) (runtime.IDMap, error) {
	config := rec.ExpandedConfig
	size := uint64(minIsolated)
	if v := config[idmapSizeKey]; v != "" && v != "auto" {
		if err := checkIDMapSize(v); err != nil { // it may be of a record that was never checked here
			return runtime.IDMap{}, fmt.Errorf("%s=%s: %w", idmapSizeKey, v, err)
		}
		size, _ = strconv.ParseUint(v, 10, 32)
	}
	if v := config[idmapBaseKey]; v != "" {
		if err := checkIDMapBase(v); err != nil {
			return runtime.IDMap{}, fmt.Errorf("%s=%s: %w", idmapBaseKey, v, err)
		}
		base, _ := strconv.ParseUint(v, 10, 32)
		if base+size > math.MaxUint32 {
			return runtime.IDMap{}, fmt.Errorf("there are no %d ids from %d on", size, base)
		}
		return runtime.IDMap{HostID: uint32(base), Size: uint32(size)}, nil
	}
	taken, err := s.takenRanges(ctx, rec.Name)
	if err != nil {
		return runtime.IDMap{}, err
	}
	first := uint64(max(uids.HostID, gids.HostID)) + minIsolated
	end := min(uint64(uids.HostID)+uint64(uids.Size), uint64(gids.HostID)+uint64(gids.Size))
	prefer, _ := strconv.ParseUint(rec.Config[volatileBase], 10, 32) // 0, or garbage: none
	if base, ok := freeRange(taken, first, end, size, prefer); ok {
		return runtime.IDMap{HostID: uint32(base), Size: uint32(size)}, nil //nolint:gosec // below end
	}
	return runtime.IDMap{}, withHint(fmt.Errorf("no range of %d ids is free for it", size), "give root more of them in /etc/subuid and /etc/subgid")
}

// takenRanges are those that the other instances have noted.
func (s *System) takenRanges(ctx context.Context, but string) ([]runtime.IDMap, error) {
	all, err := s.records(ctx)
	if err != nil {
		return nil, err
	}
	var taken []runtime.IDMap
	for _, r := range all {
		if r.Name == but || r.Config[volatileBase] == "" || r.Config[volatileBase] == "0" {
			continue
		}
		uids, gids, err := parseIDMap([]byte(r.Config[volatileCurrent]))
		if err != nil { // one of LXD's, which notes it elsewhere: it gets another one when it is started
			continue
		}
		taken = append(append(taken, uids...), gids...)
	}
	slices.SortFunc(taken, func(a, b runtime.IDMap) int { return cmp.Compare(a.HostID, b.HostID) })
	return taken, nil
}

// freeRange finds size ids from first to before end that are in none of the
// sorted ranges: those from prefer on, if they are, or else the first.
func freeRange(taken []runtime.IDMap, first, end, size, prefer uint64) (uint64, bool) {
	isFree := func(base uint64) bool {
		return base >= first && base+size <= end && !slices.ContainsFunc(taken, func(m runtime.IDMap) bool {
			return uint64(m.HostID) < base+size && base < uint64(m.HostID)+uint64(m.Size)
		})
	}
	if isFree(prefer) {
		return prefer, true
	}
	for _, m := range taken {
		if isFree(first) {
			break
		}
		first = max(first, uint64(m.HostID)+uint64(m.Size))
	}
	return first, isFree(first)
}

// formatIDMap is what parseIDMap reads.
func formatIDMap(uids, gids []runtime.IDMap) string {
	entries := make([]idmapEntry, 0, len(uids)+len(gids))
	for _, m := range uids {
		entries = append(entries, idmapEntry{Isuid: true, Hostid: int64(m.HostID), Nsid: int64(m.ContainerID), Maprange: int64(m.Size)})
	}
	for _, m := range gids {
		entries = append(entries, idmapEntry{Isgid: true, Hostid: int64(m.HostID), Nsid: int64(m.ContainerID), Maprange: int64(m.Size)})
	}
	data, _ := json.Marshal(entries) // of numbers and truth values: it cannot fail
	return string(data)
}

// rawIDMap are the entries of raw.idmap.
type rawIDMap struct{ uids, gids []runtime.IDMap }

// parseRawIDMap reads lines of both, uid or gid, one id or a range FIRST-LAST on
// the host, and as many in the instance, as Incus has them.
func parseRawIDMap(text string) (raw rawIDMap, err error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return raw, fmt.Errorf("invalid line %q: want both|uid|gid HOST INSTANCE", strings.TrimSpace(line))
		}
		host, n, err := parseIDRange(f[1])
		if err != nil {
			return raw, err
		}
		inside, n2, err := parseIDRange(f[2])
		if err != nil {
			return raw, err
		}
		switch {
		case n != n2:
			return raw, fmt.Errorf("%d ids of the host cannot be %d in the instance", n, n2)
		case host == 0:
			return raw, errors.New("the host's root cannot be in an instance: that is what security.privileged does")
		}
		m := runtime.IDMap{ContainerID: inside, HostID: host, Size: n}
		switch f[0] {
		case "both":
			raw.uids, raw.gids = append(raw.uids, m), append(raw.gids, m)
		case "uid":
			raw.uids = append(raw.uids, m)
		case "gid":
			raw.gids = append(raw.gids, m)
		default:
			return raw, fmt.Errorf("invalid kind %q: want both, uid or gid", f[0])
		}
	}
	for _, maps := range [][]runtime.IDMap{raw.uids, raw.gids} {
		if err := checkApart(maps); err != nil {
			return rawIDMap{}, err
		}
	}
	return raw, nil
}

// parseIDRange reads an id, or FIRST-LAST.
func parseIDRange(text string) (first, n uint32, err error) {
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	a, err1 := strconv.ParseUint(from, 10, 32)
	b, err2 := strconv.ParseUint(to, 10, 32)
	if err1 != nil || err2 != nil || b < a || b == math.MaxUint32 {
		return 0, 0, fmt.Errorf("invalid id or range of ids %q", text)
	}
	return uint32(a), uint32(b - a + 1), nil
}

// checkApart refuses maps in which an id is twice, which the kernel does not take.
func checkApart(maps []runtime.IDMap) error {
	meet := func(a, b, size1, size2 uint32) bool {
		return uint64(a) < uint64(b)+uint64(size2) && uint64(b) < uint64(a)+uint64(size1)
	}
	for i, a := range maps {
		for _, b := range maps[:i] {
			if meet(a.HostID, b.HostID, a.Size, b.Size) {
				return fmt.Errorf("ids from %d on of the host are mapped twice", max(a.HostID, b.HostID))
			}
			if meet(a.ContainerID, b.ContainerID, a.Size, b.Size) {
				return fmt.Errorf("ids from %d on of the instance are mapped twice", max(a.ContainerID, b.ContainerID))
			}
		}
	}
	return nil
}

// over puts the entries over maps.
func (raw rawIDMap) over(uids, gids []runtime.IDMap) (u, g []runtime.IDMap, err error) {
	u, g = overlay(uids, raw.uids), overlay(gids, raw.gids)
	if err := errors.Join(checkApart(u), checkApart(g)); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", rawIDMapKey, err)
	}
	return u, g, nil
}

// overlay cuts the instance's ids of over out of base, and adds over.
func overlay(base, over []runtime.IDMap) []runtime.IDMap {
	out := slices.Clone(base)
	for _, o := range over {
		var cut []runtime.IDMap
		for _, m := range out {
			start, end := uint64(m.ContainerID), uint64(m.ContainerID)+uint64(m.Size)
			if at := uint64(o.ContainerID); start < min(end, at) {
				cut = append(cut, runtime.IDMap{ContainerID: m.ContainerID, HostID: m.HostID, Size: uint32(min(end, at) - start)}) //nolint:gosec // a part of m
			}
			if at := max(start, uint64(o.ContainerID)+uint64(o.Size)); at < end {
				cut = append(cut, runtime.IDMap{ContainerID: uint32(at), HostID: m.HostID + uint32(at-start), Size: uint32(end - at)}) //nolint:gosec // a part of m
			}
		}
		out = cut
	}
	return append(out, over...)
}
