package backup

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Header is backup/optimized_header.yaml (LXD 5.0, lxd/storage/drivers, BTRFSMetaDataHeader).
type Header struct {
	Subvolumes []Subvolume `yaml:"subvolumes"`
}

// Subvolume is one subvolume, whose stream is called as Layout.File says.
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
