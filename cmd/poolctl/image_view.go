package main

import (
	"slices"
	"time"

	"poolctl/pool"
	"poolctl/remotes"
)

// imageView is an image, of a remote or of a pool, in incus's fields and order.
type imageView struct {
	AutoUpdate      bool              `json:"auto_update" yaml:"auto_update"`
	Properties      map[string]string `json:"properties" yaml:"properties"`
	Public          bool              `json:"public" yaml:"public"`
	ExpiresAt       time.Time         `json:"expires_at" yaml:"expires_at"`
	Profiles        []string          `json:"profiles" yaml:"profiles"`
	Aliases         []pool.ImageAlias `json:"aliases" yaml:"aliases"`
	Architecture    string            `json:"architecture" yaml:"architecture"`
	Cached          bool              `json:"cached" yaml:"cached"`
	Filename        string            `json:"filename,omitempty" yaml:"filename,omitempty"`
	Fingerprint     string            `json:"fingerprint" yaml:"fingerprint"`
	AltFingerprints []string          `json:"alt_fingerprints,omitempty" yaml:"alt_fingerprints,omitempty"`
	Size            int64             `json:"size" yaml:"size"`
	VirtualSize     int64             `json:"virtual_size,omitempty" yaml:"virtual_size,omitempty"`
	UpdateSource    *pool.ImageSource `json:"update_source,omitempty" yaml:"update_source,omitempty"`
	Type            string            `json:"type" yaml:"type"`
	CreatedAt       time.Time         `json:"created_at" yaml:"created_at"`
	LastUsedAt      time.Time         `json:"last_used_at" yaml:"last_used_at"`
	UploadedAt      time.Time         `json:"uploaded_at" yaml:"uploaded_at"`
	Pool            string            `json:"pool,omitempty" yaml:"pool,omitempty"`

	shown string // the alias that tables show
	more  int    // how many others there are
}

// remoteImageView leaves the lists that are empty nil, so that JSON has null
// there, as lxc's and incus's has it of a simplestreams server.
func remoteImageView(im remotes.Image) imageView {
	v := imageView{
		Properties: im.Properties, Public: im.Public, ExpiresAt: im.ExpiresAt, Architecture: im.Arch, Filename: im.Filename, Fingerprint: im.Fingerprint, AltFingerprints: im.AltFingerprints,
		Size: im.Size, Type: im.Type, CreatedAt: im.CreatedAt, UploadedAt: im.UploadedAt,
	}
	for _, a := range im.Aliases {
		if a.Display { // as lxc and incus: the others would name another architecture's image here
			v.Aliases = append(v.Aliases, pool.ImageAlias{Name: a.Name})
		}
	}
	v.shown, v.more = im.DisplayAlias()
	return v
}

func localImageView(im pool.Image) imageView {
	v := imageView{
		AutoUpdate: im.AutoUpdate, Properties: im.Properties, Public: im.Public, ExpiresAt: im.ExpiresAt, Profiles: im.Profiles,
		Aliases: orEmpty(im.Aliases), Architecture: im.Architecture, Cached: im.Cached, Fingerprint: im.Fingerprint,
		AltFingerprints: im.AltFingerprints, Size: im.Size, VirtualSize: im.VirtualSize, UpdateSource: im.UpdateSource, Type: im.Type,
		CreatedAt: im.CreatedAt, LastUsedAt: im.LastUsedAt, UploadedAt: im.UploadedAt, Pool: im.Pool,
	}
	for _, a := range v.Aliases {
		if v.shown == "" || len(a.Name) < len(v.shown) {
			v.shown = a.Name
		}
	}
	v.more = max(0, len(v.Aliases)-1)
	return v
}

// aliasNames are the aliases in order.
func (v imageView) aliasNames() []string {
	names := make([]string, 0, len(v.Aliases))
	for _, a := range v.Aliases {
		names = append(names, a.Name)
	}
	slices.Sort(names)
	return names
}
