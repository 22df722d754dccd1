package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"poolctl/runtime/stage"
)

// Disk is a directory or file of the host's that an instance sees, or a device
// node.
type Disk struct {
	// Device is the device's name, for messages.
	Device string `json:"device"`
	// Source is the directory or file on the host, Path where it is inside: both
	// absolute. What is missing of Path is made.
	Source string `json:"source"`
	Path   string `json:"path"`
	// ReadOnly keeps the instance from writing, also when its root would have it
	// otherwise.
	ReadOnly bool `json:"read_only,omitempty"`
	// Recursive takes along what is mounted below Source.
	Recursive bool `json:"recursive,omitempty"`
	// Propagation says whether mounts that come and go below Source come and go inside
	// as well (stage.CheckPropagation).
	Propagation string `json:"propagation,omitempty"`
	// Mapped shows the owners in the instance as they are on the disk, by an
	// idmapped mount. Otherwise the host's ids are those of nobody inside, unless
	// they are the instance's own.
	Mapped bool `json:"mapped,omitempty"`
	// Shifted says of a Mapped disk whose ids are shifted on disk what the
	// instance's are there (HostID), users' and groups' alike; zero: they are not.
	Shifted IDMap `json:"shifted,omitzero"`
	// Volume is what Source is for the caller; for nothing but Instance.Disks.
	Volume string `json:"volume,omitempty"`
	// Node, unless zero, is a device node that is made and mounted at Path; Source
	// is then for messages only, and what follows it for nothing.
	Node Node `json:"node,omitzero"`
}

// maxDiskPath bounds Path: names of mounts longer than PATH_MAX cannot be used.
const maxDiskPath = 4000

// validate refuses what cannot be carried out.
func (d Disk) validate() error {
	switch {
	case !filepath.IsAbs(d.Source):
		return fmt.Errorf("invalid source %q of %s: want an absolute path", d.Source, d.label())
	case !filepath.IsAbs(d.Path), strings.Contains(d.Path, "\x00"), len(d.Path) > maxDiskPath, d.Inside() == "/":
		return fmt.Errorf("invalid path %q of %s: want an absolute path below the root", d.Path, d.label())
	}
	if err := stage.CheckPropagation(d.Propagation); err != nil {
		return fmt.Errorf("invalid propagation of %s: %w", d.label(), err)
	}
	// The instance has its own there.
	for _, own := range []string{"/proc", "/sys", "/dev"} {
		if in := d.Inside(); in == own {
			return fmt.Errorf("invalid path %q of %s: it is the instance's own", d.Path, d.label())
		}
	}
	return d.Node.validate()
}

// label names it in messages.
func (d Disk) label() string {
	if d.Node != (Node{}) {
		return "device " + d.Device
	}
	return "disk " + d.Device
}

// Inside is Path without superfluous slashes, "." and "..".
func (d Disk) Inside() string { return filepath.Clean(d.Path) }

// staged is what puts its mount into place inside.
func (d Disk) staged() stage.Disk {
	return stage.Disk{Device: d.Device, Path: d.Inside(), Propagation: d.Propagation}
}

// CheckPropagation refuses what is none that a disk can have (stage.CheckPropagation).
func CheckPropagation(name string) error { return stage.CheckPropagation(name) }

// byDepth sorts disks so that what another one hides comes first.
func byDepth(disks []Disk) []Disk {
	out := slices.Clone(disks)
	slices.SortStableFunc(out, func(a, b Disk) int {
		return strings.Count(a.Inside(), "/") - strings.Count(b.Inside(), "/")
	})
	return out
}

// disksFile is the file of a run directory that lists the disks that the
// instance has now: those of its start, and those that came and went since. A
// reboot takes them from there.
const disksFile = "disks.json"

// DisksFile is replaced whenever the disks of the instance with that run directory
// change.
func DisksFile(runDir string) string { return filepath.Join(runDir, disksFile) }

func saveDisks(runDir string, disks []Disk) error {
	data, err := json.Marshal(disks)
	if err != nil {
		return err
	}
	if err := writeAtomic(filepath.Join(runDir, disksFile), data); err != nil {
		return fmt.Errorf("cannot save the instance's disks: %w", err)
	}
	return nil
}

func loadDisks(runDir string) ([]Disk, error) {
	data, err := os.ReadFile(filepath.Join(runDir, disksFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // an instance of an older version
	}
	var disks []Disk
	if err == nil {
		err = json.Unmarshal(data, &disks)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the instance's disks: %w", err)
	}
	return disks, nil
}

// Disks lists the disks that the instance has now.
func (i *Instance) Disks() ([]Disk, error) { return loadDisks(i.dir) }
