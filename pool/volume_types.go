package pool

import "time"

// The types of storage volumes, as Incus calls them.
const (
	volumeCustom    = "custom"
	volumeContainer = "container"
	volumeImage     = "image"
	volumeVM        = "virtual-machine"
)

// contentFilesystem is the only type of content that volumes of a btrfs pool
// have here.
const contentFilesystem = "filesystem"

// Volume is a storage volume as `pool volume show` prints it: Incus's fields in
// their order. Name of a snapshot is VOLUME/SNAPSHOT.
type Volume struct {
	Config      map[string]string `json:"config" yaml:"config"`
	Description string            `json:"description" yaml:"description"`
	Name        string            `json:"name" yaml:"name"`
	Type        string            `json:"type" yaml:"type"` // custom, container, image or virtual-machine
	UsedBy      []string          `json:"used_by" yaml:"used_by"`
	Location    string            `json:"location" yaml:"location"` // "none"
	ContentType string            `json:"content_type" yaml:"content_type"`
	Project     string            `json:"project" yaml:"project"`
	CreatedAt   time.Time         `json:"created_at" yaml:"created_at"`
}

// VolumeSnapshot is a snapshot of a custom volume, in Incus's fields.
type VolumeSnapshot struct {
	Description string            `json:"description" yaml:"description"`
	ExpiresAt   *time.Time        `json:"expires_at" yaml:"expires_at"` // nil: never
	Name        string            `json:"name" yaml:"name"`
	Config      map[string]string `json:"config" yaml:"config"`
	ContentType string            `json:"content_type" yaml:"content_type"`
	CreatedAt   time.Time         `json:"created_at" yaml:"created_at"`
}

// VolumeInfo is what `pool volume info` prints.
type VolumeInfo struct {
	Volume `yaml:",inline"`
	// Used is what the volume references, in bytes, with what it shares; Total is
	// its size as configured, 0 for none.
	Used      uint64           `json:"used" yaml:"used"`
	Total     int64            `json:"total" yaml:"total"`
	Snapshots []VolumeSnapshot `json:"snapshots" yaml:"snapshots"`
}

// VolumePut is what of a custom volume, or of a snapshot of one, can be changed.
type VolumePut struct {
	Config      map[string]string `json:"config" yaml:"config"`
	Description string            `json:"description" yaml:"description"`
	ExpiresAt   *time.Time        `json:"expires_at,omitempty" yaml:"expires_at,omitempty"` // of a snapshot
}

// CreateVolumeOptions are the arguments of CreateVolume.
type CreateVolumeOptions struct {
	Pool, Name  string
	ContentType string // "" or "filesystem"
	Description string
	Config      map[string]string
}

// VolumeSnapshotOptions are the arguments of CreateVolumeSnapshot.
type VolumeSnapshotOptions struct {
	Pool, Volume string
	Name         string // "" = as snapshots.pattern of the volume says
	Description  string
	Expiry       string // a span ("3d 2H") or a date; "" = snapshots.expiry of the volume
	NoExpiry     bool
	Reuse        bool // replaces a snapshot of that name

	scheduled bool
}

// CopyVolumeOptions are the arguments of CopyVolume and MoveVolume.
type CopyVolumeOptions struct {
	Pool, Volume string
	Snapshot     string // the one to copy; "" = the volume as it is now
	ToPool, Name string
	VolumeOnly   bool // leave the snapshots out
	Progress     func(Progress)
}
