package state

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// DefaultProfile is the profile that is there from the start.
const DefaultProfile = "default"

// What a pool lies on: PoolRecord.Kind.
const (
	// PoolFile is an image file, attached as a loop device. It is the zero value, which older records have.
	PoolFile = ""
	// PoolDevice is a whole block device or partition.
	PoolDevice = "device"
	// PoolDirectory is a subvolume of a btrfs file system that somebody else made and mounts.
	PoolDirectory = "directory"
)

// PoolRecord is what is known of a pool while it is not attached.
type PoolRecord struct {
	Name        string            `json:"name"`
	Driver      string            `json:"driver"` // "btrfs"
	Description string            `json:"description"`
	Kind        string            `json:"kind,omitempty"` // PoolFile, PoolDevice or PoolDirectory
	Source      string            `json:"source"`         // absolute path of the image file, the device or the subvolume
	Config      map[string]string `json:"config"`         // as the user gave it
	UUID        string            `json:"uuid"`           // of the btrfs file system
	// SubvolumeID and SubvolumeUUID identify a PoolDirectory's subvolume in the file system; the top level may have no UUID.
	SubvolumeID   uint64 `json:"subvolume_id,omitempty"`
	SubvolumeUUID string `json:"subvolume_uuid,omitempty"`
	// OwnSubvolume says that the pool made its subvolume, and takes it away when it is deleted.
	OwnSubvolume bool `json:"own_subvolume,omitempty"`
	// Adopted says that what the pool lies on was there before, with all that was in it then.
	Adopted   bool      `json:"adopted,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	// Detached says that the user detached the pool: it is not to be attached unless a command names it.
	Detached bool `json:"detached,omitempty"`
}

// NetworkRecord is a network as it is wanted.
type NetworkRecord struct {
	Name        string            `json:"name"`
	Type        string            `json:"type"` // "bridge"
	Description string            `json:"description"`
	Config      map[string]string `json:"config"` // ipv4.address "10.1.2.1/24", ipv6.address, ...
	CreatedAt   time.Time         `json:"created_at"`
	Forwards    []NetworkForward  `json:"forwards,omitempty"`
}

// NetworkForward is an address of the host of which ports, or all, are published
// for instances on a network, with Incus's fields.
type NetworkForward struct {
	ListenAddress string `json:"listen_address" yaml:"listen_address"`
	Description   string `json:"description" yaml:"description"`
	// Config has target_address, to which everything goes that no port takes, and
	// user.*.
	Config map[string]string    `json:"config" yaml:"config"`
	Ports  []NetworkForwardPort `json:"ports" yaml:"ports"`
}

// NetworkForwardPort are ports of a NetworkForward.
type NetworkForwardPort struct {
	Description   string `json:"description" yaml:"description"`
	Protocol      string `json:"protocol" yaml:"protocol"`       // tcp or udp
	ListenPort    string `json:"listen_port" yaml:"listen_port"` // "80,8000-8010"
	TargetPort    string `json:"target_port" yaml:"target_port"` // as many, or one; "" for the same ones
	TargetAddress string `json:"target_address" yaml:"target_address"`
}

// Profile is configuration that instances share.
type Profile struct {
	Name        string                       `json:"name"`
	Description string                       `json:"description"`
	Config      map[string]string            `json:"config"`
	Devices     map[string]map[string]string `json:"devices"`
}

// table is one kind of record: a directory with a file for each.
type table[T any] struct {
	dir  string
	kind string
	// name gives the place of a record's name, which must agree with the name of its file.
	name func(*T) *string
}

func (t table[T]) path(name string) string { return filepath.Join(t.dir, name+suffix) }

func (t table[T]) list() ([]string, error) {
	names, err := listNames(t.dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list the %ss: %w", t.kind, err)
	}
	return names, nil
}

func (t table[T]) load(name string) (T, error) {
	var rec T
	if err := ValidateName(t.kind, name); err != nil {
		return rec, err
	}
	if err := LoadJSON(t.path(name), &rec); err != nil {
		var zero T
		return zero, fmt.Errorf("cannot load %s %s: %w", t.kind, name, err)
	}
	*t.name(&rec) = name
	return rec, nil
}

func (t table[T]) save(rec T) error {
	name := *t.name(&rec)
	if err := ValidateName(t.kind, name); err != nil {
		return err
	}
	if err := SaveJSON(t.path(name), rec); err != nil {
		return fmt.Errorf("cannot save %s %s: %w", t.kind, name, err)
	}
	return nil
}

func (t table[T]) delete(name string) error {
	if err := ValidateName(t.kind, name); err != nil {
		return err
	}
	if err := deleteFile(t.path(name)); err != nil {
		return fmt.Errorf("cannot delete %s %s: %w", t.kind, name, err)
	}
	return nil
}

func (d *Dir) poolTable() table[PoolRecord] {
	return table[PoolRecord]{d.Pools(), "pool", func(r *PoolRecord) *string { return &r.Name }}
}

func (d *Dir) networkTable() table[NetworkRecord] {
	return table[NetworkRecord]{d.Networks(), "network", func(r *NetworkRecord) *string { return &r.Name }}
}

func (d *Dir) profileTable() table[Profile] {
	return table[Profile]{d.profiles(), "profile", func(r *Profile) *string { return &r.Name }}
}

// ListPools names the pools that have a record, sorted. Damaged records are named too: loading them says so.
func (d *Dir) ListPools() ([]string, error) { return d.poolTable().list() }

// LoadPool reads the record of a pool; fs.ErrNotExist when there is none.
func (d *Dir) LoadPool(name string) (PoolRecord, error) { return d.poolTable().load(name) }

// SavePool writes the record of a pool, replacing the one there is.
func (d *Dir) SavePool(rec PoolRecord) error { return d.poolTable().save(rec) }

// DeletePool removes the record of a pool; fs.ErrNotExist when there is none.
func (d *Dir) DeletePool(name string) error { return d.poolTable().delete(name) }

// ListNetworks names the networks that have a record, sorted.
func (d *Dir) ListNetworks() ([]string, error) { return d.networkTable().list() }

// LoadNetwork reads the record of a network; fs.ErrNotExist when there is none.
func (d *Dir) LoadNetwork(name string) (NetworkRecord, error) { return d.networkTable().load(name) }

// SaveNetwork writes the record of a network, replacing the one there is.
func (d *Dir) SaveNetwork(rec NetworkRecord) error { return d.networkTable().save(rec) }

// DeleteNetwork removes the record of a network; fs.ErrNotExist when there is none.
func (d *Dir) DeleteNetwork(name string) error { return d.networkTable().delete(name) }

// ListProfiles names the profiles, sorted; DefaultProfile is always among them.
func (d *Dir) ListProfiles() ([]string, error) {
	names, err := d.profileTable().list()
	if err != nil {
		return nil, err
	}
	if !slices.Contains(names, DefaultProfile) {
		names = append(names, DefaultProfile)
		slices.Sort(names)
	}
	return names, nil
}

// LoadProfile reads a profile; fs.ErrNotExist when there is none. DefaultProfile is there from the start, empty.
func (d *Dir) LoadProfile(name string) (Profile, error) {
	p, err := d.profileTable().load(name)
	if name == DefaultProfile && errors.Is(err, fs.ErrNotExist) {
		p, err = Profile{Name: name, Description: "Default profile"}, nil
	}
	if err != nil {
		return Profile{}, err
	}
	if p.Config == nil {
		p.Config = map[string]string{}
	}
	if p.Devices == nil {
		p.Devices = map[string]map[string]string{}
	}
	return p, nil
}

// SaveProfile writes a profile, replacing the one there is.
func (d *Dir) SaveProfile(p Profile) error { return d.profileTable().save(p) }

// DeleteProfile removes a profile; fs.ErrNotExist when there is none. DefaultProfile cannot be deleted.
func (d *Dir) DeleteProfile(name string) error {
	if name == DefaultProfile {
		return fmt.Errorf("cannot delete profile %s: it is always there", name)
	}
	return d.profileTable().delete(name)
}
