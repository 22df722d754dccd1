package sendstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
)

// What a file is of: Header.Type.
const (
	TypeInstance = "instance"
	TypeSnapshot = "snapshot"
)

// What a body is compressed with: Header.Compression.
const (
	CompressionNone = "none"
	CompressionZstd = "zstd"
)

const (
	// maxHeader bounds a header, in bytes: the record in it has 16 MiB at most.
	maxHeader = 40 << 20
	// maxSubvolumes bounds how many there are.
	maxSubvolumes = 1 << 20
)

// Header says what a file is of.
type Header struct {
	Type     string    `json:"type"`
	Name     string    `json:"name"`               // the instance
	Snapshot string    `json:"snapshot,omitempty"` // of TypeSnapshot
	UUID     string    `json:"uuid,omitempty"`     // the instance's
	Date     time.Time `json:"date"`
	// Architecture is the instance's: x86_64.
	Architecture string `json:"architecture"`
	Pool         string `json:"pool"`
	Compression  string `json:"compression"`
	// Size is how much is written where it is received, in bytes, as it was stored; DataSize as it is uncompressed there, and
	// TreeSize the metadata.
	Size     int64 `json:"size"`
	DataSize int64 `json:"data_size"`
	TreeSize int64 `json:"tree_size"`
	// Parent is what the receiver has to have; nil for all of it.
	Parent *Version `json:"parent,omitempty"`
	// Versions are the snapshots in it, the oldest first, and at the end the state that the instance is to have.
	Versions []Version `json:"versions"`
	// Record is the instance's backup.yaml, as JSON or YAML.
	Record string `json:"record"`
}

// Version is a snapshot or, with Snapshot "", the instance itself.
type Version struct {
	Snapshot   string      `json:"snapshot"`
	CreatedAt  time.Time   `json:"created_at,omitzero"`
	Subvolumes []Subvolume `json:"subvolumes"`
}

// Subvolume is one subvolume of a version.
type Subvolume struct {
	// Path is "/" for the version's own, "/DIR/NAME" for one that is nested in it.
	Path     string `json:"path"`
	ReadOnly bool   `json:"readonly,omitempty"`
	// UUID is how streams name it.
	UUID string `json:"uuid"`
}

// UUID is that of a version's own subvolume.
func (v Version) UUID() string {
	if len(v.Subvolumes) == 0 {
		return ""
	}
	return v.Subvolumes[0].UUID
}

func parseHeader(raw []byte) (Header, error) {
	var h Header
	if err := json.Unmarshal(raw, &h); err != nil {
		return Header{}, err
	}
	return h, h.check()
}

// check refuses what cannot be received. Whether names are names that an instance or a snapshot can have is for the receiver to
// look at.
func (h Header) check() error {
	switch {
	case h.Type != TypeInstance && h.Type != TypeSnapshot:
		return fmt.Errorf("it is of the type %.64q, which is not known", h.Type)
	case h.Compression != CompressionNone && h.Compression != CompressionZstd:
		return fmt.Errorf("it is compressed with %.64q, which is not known", h.Compression)
	case h.Name == "" || h.Record == "":
		return errors.New("it does not say what it is of")
	case h.Size < 0 || h.DataSize < 0 || h.TreeSize < 0 || h.Size > 1<<60 || h.DataSize > 1<<60 || h.TreeSize > 1<<60:
		return errors.New("its sizes cannot be")
	case len(h.Versions) == 0 || h.Versions[len(h.Versions)-1].Snapshot != "":
		return errors.New("it has no state of the instance")
	case h.Type == TypeSnapshot && (len(h.Versions) != 2 || h.Versions[0].Snapshot != h.Snapshot || h.Snapshot == ""):
		return errors.New("it is of a snapshot, and does not have just that")
	}
	versions := h.Versions
	if h.Parent != nil {
		if h.Parent.Snapshot == "" {
			return errors.New("what it builds on is no snapshot")
		}
		versions = append([]Version{*h.Parent}, versions...)
	}
	seen, total := map[string]bool{}, 0
	for _, v := range versions {
		if seen[v.Snapshot] {
			return fmt.Errorf("it has the version %.256q twice", v.Snapshot)
		}
		seen[v.Snapshot] = true
		if total += len(v.Subvolumes); total > maxSubvolumes {
			return errors.New("it has too many subvolumes")
		}
		if err := v.check(); err != nil {
			return err
		}
	}
	return nil
}

func (v Version) check() error {
	paths := map[string]bool{}
	for i, s := range v.Subvolumes {
		bad := s.Path == "" || s.Path[0] != '/' || path.Clean(s.Path) != s.Path || strings.Contains(s.Path, "\x00")
		if bad || (s.Path == "/") != (i == 0) || paths[s.Path] {
			return fmt.Errorf("it has a subvolume at %.256q", s.Path)
		}
		paths[s.Path] = true
	}
	if len(v.Subvolumes) == 0 {
		return fmt.Errorf("the version %.256q has no subvolume", v.Snapshot)
	}
	return nil
}
