package tree

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const (
	// maxImageRecord and maxMetadata bound what is read of an image's record and of its metadata.yaml, in bytes.
	maxImageRecord = 1 << 20
	maxMetadata    = 256 << 10
	opImageUpdate  = "image-update"
)

// ImageSource says where an image came from.
type ImageSource struct {
	Remote   string `json:"remote"`
	Server   string `json:"server"`
	Alias    string `json:"alias"`
	Protocol string `json:"protocol"`
	// SignedBy are the fingerprints of the remote's OpenPGP keys, one of which had to sign its catalogue; nil for none.
	SignedBy []string `json:"signed_by,omitempty"`
}

// ImageRecord is what is known of an image: .poolctl/images/FINGERPRINT.json.
type ImageRecord struct {
	// Fingerprint is the name of the image: the SHA-256 of its files, 64 hexadecimal digits.
	Fingerprint string `json:"fingerprint"`
	// AltFingerprints are those of the same root with other metadata files.
	AltFingerprints []string `json:"alt_fingerprints,omitempty"`
	Aliases         []string `json:"aliases"`
	// AliasDescriptions has the descriptions of the aliases that have one.
	AliasDescriptions map[string]string `json:"alias_descriptions,omitempty"`
	// AliasTaken says when aliases were taken away from other images, for those that were: the last one has them.
	AliasTaken   map[string]time.Time `json:"alias_taken,omitempty"`
	Properties   map[string]string    `json:"properties"`
	Architecture string               `json:"architecture"` // x86_64
	Type         string               `json:"type"`         // container, virtual-machine
	Size         int64                `json:"size"`         // of the compressed files, in bytes; 0 = unknown
	// VirtualSize is the size in bytes of a virtual machine's disk; 0 = a container.
	VirtualSize int64        `json:"virtual_size,omitempty"`
	CreatedAt   time.Time    `json:"created_at"`
	ExpiresAt   time.Time    `json:"expires_at"`
	UploadedAt  time.Time    `json:"uploaded_at"`
	LastUsedAt  time.Time    `json:"last_used_at"`
	Source      *ImageSource `json:"source,omitempty"`
	Cached      bool         `json:"cached"` // pulled for an instance, not by the user
	Public      bool         `json:"public"`
	AutoUpdate  bool         `json:"auto_update"`
	// Profiles are those of new instances that name none; none for the default one.
	Profiles []string `json:"profiles,omitempty"`
	// ChangedProperties names the properties that a user has set or removed: a new version of the image keeps them.
	ChangedProperties []string `json:"changed_properties,omitempty"`
	// Derived says that the image was published of an instance, and that its properties are those of the image that this was
	// made of.
	Derived bool `json:"derived,omitempty"`
	// Replaces is the image whose place this one has taken and which is being deleted; "" for none.
	Replaces string `json:"replaces,omitempty"`
	// Adopted says that there is no record: the rest is what the image's metadata.yaml says.
	Adopted bool `json:"-"`
	// Damaged says why the record cannot be read; the image itself works, and the rest is what its metadata.yaml says.
	Damaged error `json:"-"`
}

// Images lists the images, sorted by fingerprint. An image without a record, such as one that LXD made, is listed with
// what its metadata.yaml says once it is read-only, which LXD and Incus make it last. One whose place another has taken is
// not listed, and an alias is only the image's that has it now (aliasOwners).
func (t *Tree) Images() ([]ImageRecord, error) {
	images, err := t.imageRecords()
	leaveOwned(images)
	return images, err
}

// imageRecords is Images with the records as they are.
func (t *Tree) imageRecords() ([]ImageRecord, error) {
	names, err := readNames(filepath.Join(t.mnt, dirImages))
	if err != nil {
		return nil, fmt.Errorf("cannot list the images: %w", err)
	}
	slices.Sort(names)
	images, replaced := []ImageRecord{}, map[string]bool{}
	for _, name := range names {
		if ValidateFingerprint(name) != nil {
			continue
		}
		rec, err := t.Image(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		if rec.Replaces != "" {
			replaced[rec.Replaces] = true
		}
		images = append(images, rec)
	}
	return slices.DeleteFunc(images, func(r ImageRecord) bool { return replaced[r.Fingerprint] }), nil
}

// Image returns the image of exactly that fingerprint; fs.ErrNotExist when there is none.
func (t *Tree) Image(fingerprint string) (ImageRecord, error) {
	if err := ValidateFingerprint(fingerprint); err != nil {
		return ImageRecord{}, err
	}
	volume := t.ImagePath(fingerprint)
	ok, err := isSubvolume(volume)
	if err == nil && !ok {
		err = &fs.PathError{Op: "open", Path: volume, Err: fs.ErrNotExist}
	}
	if err != nil {
		return ImageRecord{}, fmt.Errorf("cannot read image %s: %w", fingerprint, err)
	}
	rec, err := t.readImageRecord(fingerprint)
	switch {
	case err == nil:
		return rec, nil
	case errors.Is(err, fs.ErrNotExist):
		return t.adoptedImage(fingerprint)
	}
	adopted, aerr := t.adoptedImage(fingerprint)
	adopted.Damaged = err
	return adopted, aerr
}

func (t *Tree) readImageRecord(fingerprint string) (ImageRecord, error) {
	var rec ImageRecord
	path := t.imageRecordPath(fingerprint)
	raw, err := readFile(path, maxImageRecord)
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(raw, &rec); err != nil {
		return ImageRecord{}, fmt.Errorf("%s is damaged: %w", path, err)
	}
	rec.Fingerprint = fingerprint
	return rec, nil
}

// adoptedImage is what can be told of an image without a record. One that is still writable is being imported, or its
// import was killed: it does not exist yet.
func (t *Tree) adoptedImage(fingerprint string) (ImageRecord, error) {
	volume := t.ImagePath(fingerprint)
	readOnly, err := btrfs.IsReadOnly(volume)
	if err == nil && !readOnly {
		err = &fs.PathError{Op: "open", Path: volume, Err: fs.ErrNotExist}
	}
	if err != nil {
		return ImageRecord{}, fmt.Errorf("cannot read image %s: %w", fingerprint, err)
	}
	rec := ImageRecord{Fingerprint: fingerprint, Type: "container", Adopted: true, Properties: map[string]string{}}
	if st, err := os.Lstat(filepath.Join(volume, "root.img")); err == nil {
		rec.Type, rec.VirtualSize = "virtual-machine", st.Size()
	}
	if sub, err := btrfs.Stat(volume); err == nil {
		rec.UploadedAt = sub.CreatedAt
	}
	raw, err := readFile(filepath.Join(volume, "metadata.yaml"), maxMetadata)
	if err == nil {
		err = addMetadata(&rec, raw)
	}
	if err != nil {
		rec.Damaged = fmt.Errorf("cannot read metadata.yaml of image %s: %w", fingerprint, err)
	}
	return rec, nil
}

// addMetadata fills rec in from a metadata.yaml, which may be JSON. It comes from whoever made the image.
func addMetadata(rec *ImageRecord, raw []byte) error {
	var meta struct {
		Architecture string            `yaml:"architecture"`
		CreationDate int64             `yaml:"creation_date"`
		ExpiryDate   int64             `yaml:"expiry_date"`
		Properties   map[string]string `yaml:"properties"`
	}
	if err := yaml.Unmarshal(raw, &meta); err != nil {
		return err
	}
	rec.Architecture = meta.Architecture
	if meta.Properties != nil {
		rec.Properties = meta.Properties
	}
	if meta.CreationDate > 0 {
		rec.CreatedAt = time.Unix(meta.CreationDate, 0).UTC()
	}
	if meta.ExpiryDate > 0 {
		rec.ExpiresAt = time.Unix(meta.ExpiryDate, 0).UTC()
	}
	return nil
}

// UpdateImage changes the record of an image and returns it as it is then. An image that had none gets one. An error of
// change leaves the record as it was.
func (t *Tree) UpdateImage(fingerprint string, change func(*ImageRecord) error) (ImageRecord, error) {
	e, err := journal.BeginUnsynced(context.Background(), t.staging(), opImageUpdate, nil)
	if err != nil {
		return ImageRecord{}, fmt.Errorf("cannot update image %s: %w", fingerprint, err)
	}
	rec, err := t.changeImageRecord(e, fingerprint, change)
	return rec, abandon(e, err)
}

// changeImageRecord is UpdateImage within an entry, where the new record is made.
func (t *Tree) changeImageRecord(e *journal.Entry, fingerprint string, change func(*ImageRecord) error) (ImageRecord, error) {
	rec, err := t.Image(fingerprint)
	if err != nil {
		return rec, err
	}
	if err := change(&rec); err != nil {
		return rec, err
	}
	rec.Fingerprint, rec.Adopted, rec.Damaged = fingerprint, false, nil
	if err := checkImageRecord(rec); err != nil {
		return rec, fmt.Errorf("cannot update image %s: %w", fingerprint, err)
	}
	raw, err := encodeImageRecord(rec)
	if err == nil {
		err = writeFile(e.Dir(), entryNewRecord, raw, 0o600)
	}
	if err == nil {
		crash.Point("tree.imageupdate.written")
		err = os.Rename(e.Path(entryNewRecord), t.imageRecordPath(fingerprint))
	}
	if err != nil {
		return rec, fmt.Errorf("cannot update image %s: %w", fingerprint, err)
	}
	return rec, nil
}

func checkImageRecord(rec ImageRecord) error {
	for _, f := range append([]string{rec.Fingerprint}, rec.AltFingerprints...) {
		if err := ValidateFingerprint(f); err != nil {
			return err
		}
	}
	if rec.Replaces != "" {
		if err := ValidateFingerprint(rec.Replaces); err != nil {
			return err
		}
	}
	for _, a := range rec.Aliases {
		// Earlier versions, and LXD, took commas.
		if err := ValidateAlias(strings.ReplaceAll(a, ",", "")); err != nil {
			return err
		}
	}
	return nil
}

func encodeImageRecord(rec ImageRecord) ([]byte, error) {
	if rec.Aliases == nil {
		rec.Aliases = []string{}
	}
	if rec.Properties == nil {
		rec.Properties = map[string]string{}
	}
	raw, err := json.MarshalIndent(rec, "", "  ")
	if err == nil && len(raw) >= maxImageRecord {
		err = fmt.Errorf("its record would take %d bytes, and %d are the most", len(raw), maxImageRecord)
	}
	return append(raw, '\n'), err
}
