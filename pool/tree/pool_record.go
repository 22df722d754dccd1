package tree

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"
)

const (
	poolRecordFile = "pool.json"
	// maxPoolRecord bounds what is read of a pool's own record, in bytes.
	maxPoolRecord = 1 << 20
)

// PoolRecord is what a pool says of itself, so that its file can be adopted on another machine: .poolctl/pool.json. Where
// the pool lies, which is another place there, is not in it.
type PoolRecord struct {
	Name        string            `json:"name"`
	Driver      string            `json:"driver"` // "btrfs"
	Description string            `json:"description"`
	Config      map[string]string `json:"config"` // without source
	CreatedAt   time.Time         `json:"created_at"`
}

// Pool reads what the pool says of itself; fs.ErrNotExist when it says nothing, as one of LXD's or Incus's.
func (t *Tree) Pool() (PoolRecord, error) {
	path := filepath.Join(t.mnt, dirOwn, poolRecordFile)
	raw, err := readFile(path, maxPoolRecord)
	if err != nil {
		return PoolRecord{}, fmt.Errorf("cannot read the pool's record: %w", err)
	}
	rec, err := parsePoolRecord(raw)
	if err != nil {
		return PoolRecord{}, fmt.Errorf("cannot read the pool's record: %s is damaged: %w", path, err)
	}
	return rec, nil
}

func parsePoolRecord(raw []byte) (PoolRecord, error) {
	var rec PoolRecord
	if err := json.Unmarshal(raw, &rec); err != nil {
		return PoolRecord{}, err
	}
	if rec.Config == nil {
		rec.Config = map[string]string{}
	}
	return rec, nil
}

// SavePool writes what the pool says of itself, unless it says that already. The caller keeps other writers off.
func (t *Tree) SavePool(rec PoolRecord) error {
	raw, err := json.MarshalIndent(rec, "", "  ")
	raw = append(raw, '\n')
	dir := filepath.Join(t.mnt, dirOwn)
	if err == nil {
		if have, rerr := readFile(filepath.Join(dir, poolRecordFile), maxPoolRecord); rerr == nil && bytes.Equal(have, raw) {
			return nil
		}
		err = writeFile(dir, poolRecordFile, raw, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot write the pool's record: %w", err)
	}
	return nil
}
