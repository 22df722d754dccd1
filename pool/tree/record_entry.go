package tree

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// entry is a snapshot in a record, decoded as far as it is needed.
type entry struct {
	Snapshot
	// raw is the entry as it is in the record; nil for one that is not.
	raw json.RawMessage
	// brief says that of Snapshot only Name, CreatedAt, ExpiresAt, Stateful and Size are set.
	brief bool
	// changed says that Snapshot is no longer what raw says.
	changed bool
}

// decodeEntries decodes the snapshots of a document, brief where that will do.
func decodeEntries(d document, brief bool) ([]entry, error) {
	list := d.lists[sectionSnapshots]
	entries := make([]entry, len(list))
	for i, raw := range list {
		e := &entries[i]
		e.raw, e.changed = raw, !d.lines // others have their members in another order
		if brief && d.lines && e.decodeHead() {
			continue
		}
		if err := e.decode(); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// decode decodes all of a brief entry.
func (e *entry) decode() error {
	var s Snapshot
	if err := json.Unmarshal(e.raw, &s); err != nil {
		return err
	}
	s.normalise()
	e.Snapshot, e.brief = s, false
	return nil
}

// rename gives the entry another name.
func (e *entry) rename(to string) error {
	if e.brief {
		if err := e.decode(); err != nil {
			return err
		}
	}
	e.Name, e.changed = to, true
	return nil
}

// decodeHead decodes the beginning of an entry that encode wrote, and says whether it is one.
func (e *entry) decodeHead() bool {
	rest := e.raw
	take := func(key string) (value []byte) {
		after, ok := bytes.CutPrefix(rest, []byte(key))
		end := bytes.IndexByte(after, '"')
		if !ok || end < 0 || bytes.IndexByte(after[:end], '\\') >= 0 {
			rest = nil
			return nil
		}
		rest = after[end+1:]
		return after[:end]
	}
	name, created, expires := take(`{"name":"`), take(`,"created_at":"`), take(`,"expires_at":"`)
	take(`,"last_used_at":"`)
	stateful := bytes.HasPrefix(rest, []byte(`,"stateful":true,`))
	if !stateful && !bytes.HasPrefix(rest, []byte(`,"stateful":false,`)) {
		return false
	}
	s := Snapshot{Name: string(name), Stateful: stateful, Size: -1}
	if s.CreatedAt.UnmarshalText(created) != nil || s.ExpiresAt.UnmarshalText(expires) != nil {
		return false
	}
	e.Snapshot, e.brief = s, true
	return true
}

// encode is the entry as it is written: as it was in the record, but for what was changed.
func (e *entry) encode() (json.RawMessage, error) {
	if e.raw != nil && !e.changed {
		return e.raw, nil
	}
	fresh, err := marshal(e.Snapshot)
	if err != nil || e.raw == nil {
		return fresh, err
	}
	known := object(fresh)
	more := object(e.raw)
	maps.DeleteFunc(more, func(key string, _ json.RawMessage) bool { _, there := known[key]; return there })
	if len(more) == 0 {
		return fresh, nil
	}
	rest, err := marshal(more)
	if err != nil {
		return nil, err
	}
	return append(append(fresh[:len(fresh)-1:len(fresh)-1], ','), rest[1:]...), nil
}

// asSnapshots are the snapshots of entries.
func asSnapshots(entries []entry) []Snapshot {
	if entries == nil {
		return nil
	}
	out := make([]Snapshot, len(entries))
	for i := range entries {
		out[i] = entries[i].Snapshot
	}
	return out
}

// entriesOf are entries that are in no record yet.
func entriesOf(snaps []Snapshot) []entry {
	out := make([]entry, len(snaps))
	for i := range snaps {
		out[i].Snapshot = snaps[i]
	}
	return out
}

// findEntry is the entry of that name, or nil.
func findEntry(entries []entry, name string) *entry {
	i := slices.IndexFunc(entries, func(e entry) bool { return e.Name == name })
	if i < 0 {
		return nil
	}
	return &entries[i]
}

// sortEntries sorts entries as oldestFirst does snapshots.
func sortEntries(entries []entry) {
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.Name, b.Name))
	})
}
