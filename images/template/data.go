package template

import (
	"strings"
	"time"

	"github.com/flosch/pongo2/v6"
)

// Data is what a template can refer to: LXD's and Incus's names
// (doc/reference/image_format.md of Incus).
type Data struct {
	Trigger    string                       `json:"trigger"`  // create, copy, rename, start
	Path       string                       `json:"path"`     // of the file that is written, in the instance
	Instance   map[string]string            `json:"instance"` // name, type, architecture, ephemeral, privileged
	Config     map[string]string            `json:"config"`
	Devices    map[string]map[string]string `json:"devices"`
	Properties map[string]string            `json:"properties"`
	// CreationDate is what a snapshot's pattern knows, and nothing else.
	CreationDate time.Time `json:"creation_date,omitzero"`
}

// context makes pongo2's context. "container" is the older name of "instance".
func (d *Data) context() pongo2.Context {
	configGet := func(key, fallback *pongo2.Value) *pongo2.Value {
		if v, ok := d.Config[key.String()]; ok {
			return pongo2.AsValue(strings.TrimRight(v, "\r\n"))
		}
		return pongo2.AsValue(fallback.String())
	}
	if !d.CreationDate.IsZero() {
		return pongo2.Context{"creation_date": d.CreationDate}
	}
	return pongo2.Context{
		"trigger":    d.Trigger,
		"path":       d.Path,
		"instance":   d.Instance,
		"container":  d.Instance,
		"config":     d.Config,
		"devices":    d.Devices,
		"properties": d.Properties,
		"config_get": configGet,
	}
}
