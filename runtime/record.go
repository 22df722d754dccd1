package runtime

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// recordFile is what a supervisor has to know over an execve, and one that takes
// the place of another that was killed: see package wait.
const recordFile = "supervisor.json"

// record is a run directory's supervisor.json.
type record struct {
	Spec Spec `json:"spec"`
	// Booted is when the instance was started last.
	Booted time.Time `json:"booted"`
	// Pause is how long to wait before it is started again after a boot that was
	// short.
	Pause time.Duration `json:"pause,omitempty"`
	// Restarts are when it was started again after it had ended unexpectedly.
	Restarts []time.Time `json:"restarts,omitempty"`
}

func (r record) save() error {
	data, err := json.Marshal(r)
	if err == nil {
		err = writeAtomic(filepath.Join(r.Spec.RunDir, recordFile), data)
	}
	if err != nil {
		return fmt.Errorf("cannot save the supervisor's state: %w", err)
	}
	return nil
}

func loadRecord(runDir string) (r record, err error) {
	f, err := os.Open(filepath.Join(runDir, recordFile))
	if err == nil {
		err = decodeLimited(f, &r)
	}
	if err != nil {
		return r, fmt.Errorf("cannot read the supervisor's state: %w", err)
	}
	return r, nil
}

// decodeLimited reads a small file of JSON, and closes it.
func decodeLimited(f *os.File, to any) error {
	defer func() { _ = f.Close() }() // read-only
	data, err := io.ReadAll(io.LimitReader(f, maxState))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("invalid %s: %w", f.Name(), err)
	}
	return nil
}
