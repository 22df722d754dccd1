package backup

import (
	"errors"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"
)

// Names in the archive.
const (
	IndexFile  = "backup/index.yaml"
	HeaderFile = "backup/optimized_header.yaml"
	// MaxFile bounds what is read of either, in bytes.
	MaxFile = 16 << 20
)

// TypeCustom is Index.Type of a custom volume's backup.
const TypeCustom = "custom"

// Index is backup/index.yaml (LXD 5.0, lxd/backup/backup_info.go).
type Index struct {
	Name            string   `yaml:"name"`
	Backend         string   `yaml:"backend"` // "btrfs"
	Pool            string   `yaml:"pool"`
	Snapshots       []string `yaml:"snapshots,omitempty"`
	Optimized       bool     `yaml:"optimized"`
	OptimizedHeader bool     `yaml:"optimized_header"`
	Type            string   `yaml:"type"`
	Config          *Config  `yaml:"config,omitempty"`
}

// Config is the section "config" of a volume's index.
type Config struct {
	Volume          *Volume    `yaml:"volume,omitempty"`
	VolumeSnapshots []Snapshot `yaml:"volume_snapshots,omitempty"`
}

// Volume is a volume in LXD's fields.
type Volume struct {
	Config      map[string]string `yaml:"config"`
	Description string            `yaml:"description"`
	Name        string            `yaml:"name"`
	Type        string            `yaml:"type"`
	UsedBy      []string          `yaml:"used_by"`
	Location    string            `yaml:"location"`
	ContentType string            `yaml:"content_type"`
	Project     string            `yaml:"project"`
	CreatedAt   time.Time         `yaml:"created_at"`
}

// Snapshot is a volume's snapshot in LXD's fields.
type Snapshot struct {
	Description string            `yaml:"description"`
	ExpiresAt   *time.Time        `yaml:"expires_at"`
	Name        string            `yaml:"name"`
	Config      map[string]string `yaml:"config"`
	ContentType string            `yaml:"content_type"`
	CreatedAt   time.Time         `yaml:"created_at"`
}

// ParseIndex reads an index.yaml. What it has beyond the fields known here is passed over.
func ParseIndex(raw []byte) (Index, error) {
	var in Index
	if err := yaml.Unmarshal(raw, &in); err != nil {
		return Index{}, fmt.Errorf("cannot read %s: %w", IndexFile, err)
	}
	if in.Name == "" {
		return Index{}, fmt.Errorf("cannot read %s: it names nothing", IndexFile)
	}
	if in.Config == nil {
		in.Config = &Config{}
	}
	return in, nil
}

// Encode is the content of the file.
func (in Index) Encode() ([]byte, error) { return yaml.Marshal(in) }

// Header is backup/optimized_header.yaml (LXD 5.0, lxd/storage/drivers, BTRFSMetaDataHeader).
type Header struct {
	Subvolumes []Subvolume `yaml:"subvolumes"`
}

// Subvolume is one subvolume, and says what its stream is called (File).
type Subvolume struct {
	Path     string `yaml:"path"`     // "/" for that of the volume or snapshot, "/DIR/NAME" for one nested in it
	Snapshot string `yaml:"snapshot"` // "" for the volume itself
	ReadOnly bool   `yaml:"readonly"`
	UUID     string `yaml:"uuid"`
}

// ParseHeader reads an optimized_header.yaml.
func ParseHeader(raw []byte) (Header, error) {
	var h Header
	if err := yaml.Unmarshal(raw, &h); err != nil {
		return Header{}, fmt.Errorf("cannot read %s: %w", HeaderFile, err)
	}
	if len(h.Subvolumes) == 0 {
		return Header{}, fmt.Errorf("cannot read %s: %w", HeaderFile, errors.New("it lists no subvolume"))
	}
	return h, nil
}

// Encode is the content of the file.
func (h Header) Encode() ([]byte, error) { return yaml.Marshal(h) }
