package images

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// fileMetadata is a metadata.yaml as LXD and Incus write it (shared/api,
// ImageMetadata).
type fileMetadata struct {
	Architecture string                   `yaml:"architecture"`
	CreationDate int64                    `yaml:"creation_date"`
	ExpiryDate   int64                    `yaml:"expiry_date"`
	Properties   map[string]string        `yaml:"properties"`
	Templates    map[string]*fileTemplate `yaml:"templates"`
}

type fileTemplate struct {
	When       []string          `yaml:"when"`
	CreateOnly bool              `yaml:"create_only"`
	Template   string            `yaml:"template"`
	Properties map[string]string `yaml:"properties"`
	UID        string            `yaml:"uid,omitempty"`
	GID        string            `yaml:"gid,omitempty"`
	Mode       string            `yaml:"mode,omitempty"`
}

// Encode is the metadata.yaml that ReadMetadata reads as m: YAML, the keys in
// order, the same bytes each time. One that would be larger than MaxMetadata is
// refused.
func (m *Metadata) Encode() ([]byte, error) {
	f := fileMetadata{
		Architecture: m.Architecture, CreationDate: m.CreationDate, ExpiryDate: m.ExpiryDate,
		Properties: m.Properties, Templates: map[string]*fileTemplate{},
	}
	if f.Properties == nil {
		f.Properties = map[string]string{}
	}
	for path, t := range m.Templates {
		e := fileTemplate(*t)
		if e.Properties == nil {
			e.Properties = map[string]string{}
		}
		f.Templates[path] = &e
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	err := enc.Encode(f)
	if err == nil {
		err = enc.Close()
	}
	if err == nil && out.Len() > MaxMetadata {
		err = fmt.Errorf("%s would be larger than %d bytes", metadataFile, MaxMetadata)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot write image metadata: %w", err)
	}
	return out.Bytes(), nil
}
