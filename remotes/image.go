package remotes

import "time"

// The types of image that servers offer.
const (
	TypeContainer = "container"
	TypeVM        = "virtual-machine"
)

// Image is one image of a catalogue: one root file system of one version of a
// product. Its fields are those of LXD's and Incus's API.
type Image struct {
	// Fingerprint is the sha256, in lower-case hex, over the metadata file and
	// the root file in a row, or over the unified file.
	Fingerprint string
	// AltFingerprints are those of the same root file with another metadata
	// file: a server that offers incus.tar.xz and lxd.tar.xz has both.
	AltFingerprints []string
	Aliases         []Alias
	Arch            string // by the kernel's name, "x86_64"
	Type            string // TypeContainer or TypeVM
	Public          bool
	Filename        string // last part of the metadata file's path
	Description     string
	OS              string
	Release         string
	Variant         string
	Serial          string // the version's name, "20220731_1101"
	Properties      map[string]string
	Size            int64 // bytes to download, without deltas
	CreatedAt       time.Time
	ExpiresAt       time.Time // the release's end of life; the epoch when unknown
	UploadedAt      time.Time // the same as CreatedAt, as LXD and Incus have it
	Files           []File
	// Deltas says that the server has deltas for root files of this one's type, be it for
	// other images: what is pulled now may be the base of one later.
	Deltas bool
}

// Alias is a name that an image claimed.
type Alias struct {
	Name string
	Arch string // of the image
	Type string // of the image
	// Display says whether lists show it: NAME/ARCH always, NAME alone only
	// for the machine's own architecture.
	Display bool
}

// Role says what a file is to its image.
type Role string

// The roles of files.
const (
	RoleMetadata Role = "metadata"
	RoleRootfs   Role = "rootfs"
	RoleUnified  Role = "unified"
	RoleDelta    Role = "delta" // vcdiff from the root file of image File.Base
)

// File is a file of an image on the server.
type File struct {
	Role   Role
	FType  string // as the catalogue says: "squashfs", "root.tar.xz", "lxd.tar.xz", ...
	Path   string // below the remote's URL
	SHA256 string // lower-case hex
	Size   int64  // bytes, at least 1
	Base   string // of a delta: the fingerprint it starts from
}

// DisplayAlias gives the alias that a table shows, and how many more there
// are: the shortest one, the first of equals, as lxc and incus choose it. The
// name is "" when none is displayed.
func (i Image) DisplayAlias() (name string, more int) {
	n := 0
	for _, a := range i.Aliases {
		if !a.Display {
			continue
		}
		if n++; n == 1 || len(a.Name) < len(name) {
			name = a.Name
		}
	}
	return name, max(0, n-1)
}

// File returns the image's file of a role, and whether it has one.
func (i Image) File(r Role) (File, bool) {
	for _, f := range i.Files {
		if f.Role == r {
			return f, true
		}
	}
	return File{}, false
}
