package backup

import (
	"errors"
	"fmt"
	"io"
	"regexp"
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

// What a backup is of: Index.Type.
const (
	TypeContainer = "container"
	TypeMachine   = "virtual-machine"
	TypeCustom    = "custom"
)

// Index is backup/index.yaml (LXD 5.0, lxd/backup/backup_info.go).
type Index struct {
	Name            string
	Backend         string // "btrfs"
	Pool            string
	Snapshots       []string // the oldest first
	Optimized       bool
	OptimizedHeader bool
	// Legacy is set when it does not say whether it is optimized: then a stream in it does (LXD before 4.0).
	Legacy bool
	Type   string
	// Volume and VolumeSnapshots are of a custom volume.
	Volume          *Volume
	VolumeSnapshots []Snapshot
	// Record is what the container's own backup.yaml says, as YAML; nil in what LXD before 4.7 wrote.
	Record []byte
}

// indexFile is an Index as it is written.
type indexFile struct {
	Name            string    `yaml:"name"`
	Backend         string    `yaml:"backend"`
	Pool            string    `yaml:"pool"`
	Snapshots       []string  `yaml:"snapshots,omitempty"`
	Optimized       *bool     `yaml:"optimized"`
	OptimizedHeader bool      `yaml:"optimized_header"`
	Type            string    `yaml:"type"`
	Config          yaml.Node `yaml:"config,omitempty"`
}

// config is the section "config" of a custom volume's index.
type config struct {
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

// Read reads IndexFile or HeaderFile, of which more than MaxFile is refused.
func Read(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err == nil && len(raw) > MaxFile {
		err = fmt.Errorf("it has more than %d MiB", MaxFile>>20)
	}
	return raw, err
}

// ParseIndex reads an index.yaml. What it has beyond the fields known here is passed over.
func ParseIndex(raw []byte) (Index, error) {
	in, err := parseIndex(raw)
	if err != nil {
		return Index{}, fmt.Errorf("cannot read %s: %w", IndexFile, err)
	}
	return in, nil
}

func parseIndex(raw []byte) (Index, error) {
	var file indexFile
	if err := yaml.Unmarshal(raw, &file); err != nil {
		return Index{}, err
	}
	if file.Name == "" {
		return Index{}, errors.New("it names nothing")
	}
	in := Index{
		Name: file.Name, Backend: file.Backend, Pool: file.Pool, Snapshots: file.Snapshots,
		Optimized: file.Optimized != nil && *file.Optimized, OptimizedHeader: file.OptimizedHeader, Legacy: file.Optimized == nil, Type: file.Type,
	}
	if in.Type == "" {
		in.Type = TypeContainer // LXD had no other before 4.0
	}
	if file.Config.IsZero() {
		return in, nil
	}
	if in.Type == TypeContainer {
		var err error
		in.Record, err = yaml.Marshal(&file.Config)
		return in, err
	}
	var c config
	err := file.Config.Decode(&c)
	in.Volume, in.VolumeSnapshots = c.Volume, c.VolumeSnapshots
	return in, err
}

// Encode is the content of the file.
func (in Index) Encode() ([]byte, error) {
	file := indexFile{
		Name: in.Name, Backend: in.Backend, Pool: in.Pool, Snapshots: in.Snapshots,
		Optimized: &in.Optimized, OptimizedHeader: in.OptimizedHeader, Type: in.Type,
	}
	if in.Record != nil {
		var doc yaml.Node
		if err := yaml.Unmarshal(in.Record, &doc); err != nil {
			return nil, err
		}
		if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
			return nil, errors.New("the record is no YAML document")
		}
		file.Config = *doc.Content[0]
		blockStyle(&file.Config)
	} else if err := file.Config.Encode(config{in.Volume, in.VolumeSnapshots}); err != nil {
		return nil, err
	}
	return yaml.Marshal(file)
}

// plainKey are keys that can be nothing but text, without quotes too.
var plainKey = regexp.MustCompile(`^[a-z]+[._][a-z0-9._]+$`)

// blockStyle has what was JSON look like LXD's YAML, but for the quotes around values.
func blockStyle(n *yaml.Node) {
	if n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode {
		n.Style = 0
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && plainKey.MatchString(c.Value) {
			c.Style = 0
		}
		blockStyle(c)
	}
}
