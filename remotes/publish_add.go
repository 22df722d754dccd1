package remotes

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// PublishedImage is an image as it is added to a Publication.
type PublishedImage struct {
	OS, Release, Variant string // Variant "" = default
	Arch                 string // by the kernel's name
	// Serial names the version: it begins with a date, 20060102. When another image has
	// it, a number is added.
	Serial       string
	Requirements map[string]string
	// Source is the fingerprint of the image that it is made of, where it has another
	// one itself; "" = its own.
	Source string
	// Type is TypeContainer or TypeVM.
	Type string
	// Files are its own, in the order of the fingerprint: one that is unified, or
	// metadata and root. They are moved into the tree.
	Files []PublishedFile
}

// PublishedFile is a file in the directory that Stage made.
type PublishedFile struct {
	Path string
	// FType is that of a root in simplestreams: "squashfs", "root.tar.xz" (of any
	// archive: it is recognised by its content) or "disk-kvm.img"; "" of others.
	FType string
}

// publishedItem is a file of a version.
type publishedItem struct {
	FType            string `json:"ftype"`
	Path             string `json:"path"`
	SHA256           string `json:"sha256"`
	Size             int64  `json:"size"`
	Combined         string `json:"combined_sha256,omitempty"`
	CombinedRootXZ   string `json:"combined_rootxz_sha256,omitempty"`
	CombinedSquashfs string `json:"combined_squashfs_sha256,omitempty"`
	CombinedDisk     string `json:"combined_disk-kvm-img_sha256,omitempty"`
	CombinedType     string `json:"combined_type,omitempty"`
}

type publishedVersion struct {
	Items map[string]publishedItem `json:"items"`
	// Source is PublishedImage.Source: clients ignore it.
	Source string `json:"source_fingerprint,omitempty"`
}

// Product is the id of the image's product, as images.linuxcontainers.org has it:
// OS:RELEASE:ARCH:VARIANT.
func (im PublishedImage) Product() string {
	return strings.Join([]string{plain(strings.ToLower(im.OS)), plain(im.Release), DebianArch(im.Arch), plain(im.variant())}, ":")
}

func (im PublishedImage) variant() string { return cmp.Or(im.Variant, "default") }

// BaseAliases are the aliases that such an image has anyway: OS/RELEASE/VARIANT,
// and OS/RELEASE of the variant default.
func (im PublishedImage) BaseAliases() []string {
	base := plain(strings.ToLower(im.OS)) + "/" + plain(im.Release)
	list := []string{base + "/" + plain(im.variant())}
	if im.variant() == "default" {
		list = append(list, base)
	}
	return list
}

// plain makes a text a part of a path, of a product's id and of an alias.
func plain(s string) string {
	s = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(".-_+", c) {
			return c
		}
		return '-'
	}, s)
	s = s[:min(len(s), 100)]
	if strings.Trim(s, ".") == "" {
		return "none"
	}
	return s
}

// Find says which product and version the image of that fingerprint is, or was
// made of.
func (p *Publication) Find(fingerprint string) (product, serial string, found bool) {
	for id, prod := range p.products {
		for s, raw := range prod.versions {
			if hasFingerprint(raw, fingerprint) {
				return id, s, true
			}
		}
	}
	return "", "", false
}

func hasFingerprint(raw json.RawMessage, fingerprint string) bool {
	var v publishedVersion
	if json.Unmarshal(raw, &v) != nil {
		return false
	}
	if v.Source == fingerprint {
		return true
	}
	for _, it := range v.Items {
		unified := strings.Contains(it.FType, "_combined.")
		if unified && it.SHA256 == fingerprint || slices.Contains([]string{it.Combined, it.CombinedRootXZ, it.CombinedSquashfs, it.CombinedDisk}, fingerprint) {
			return true
		}
	}
	return false
}

// Newest is the newest version of a product; "" when there is none.
func (p *Publication) Newest(product string) string {
	prod := p.products[product]
	if prod == nil {
		return ""
	}
	newest := ""
	for s := range prod.versions {
		newest = max(newest, s)
	}
	return newest
}

// Stage makes an empty directory for the files of one image.
func (p *Publication) Stage() (string, error) {
	p.staged++
	dir := filepath.Join(newDir, fmt.Sprint(p.staged))
	if err := makeDirs(p.dir, filepath.Join(ownDir, dir)); err != nil {
		return "", fmt.Errorf("cannot write the image tree %s: %w", p.dir, err)
	}
	return p.own(dir), nil
}

// Add adds an image, whose files were written into a directory of Stage, to the
// tree, and returns its product and version. The catalogue names it after Commit.
func (p *Publication) Add(ctx context.Context, im PublishedImage) (product, serial string, err error) {
	product, serial, err = p.add(ctx, im)
	if err != nil {
		err = fmt.Errorf("cannot write the image tree %s: %w", p.dir, err)
	}
	return product, serial, err
}

func (p *Publication) add(ctx context.Context, im PublishedImage) (product, serial string, err error) {
	product = im.Product()
	prod := p.products[product]
	if prod == nil {
		prod = &publishedProduct{fields: map[string]json.RawMessage{}, versions: map[string]json.RawMessage{}}
	}
	serial = plainSerial(im.Serial)
	for n := 2; ; n++ {
		if _, taken := prod.versions[serial]; !taken {
			break
		}
		serial = fmt.Sprintf("%s_%d", plainSerial(im.Serial), n)
	}
	dir := strings.Join(append([]string{publishedDir}, append(strings.Split(product, ":"), serial)...), "/")
	v := publishedVersion{Source: im.Source}
	if v.Items, err = p.items(ctx, im, dir); err != nil {
		return "", "", err
	}
	if err := p.intend(dir); err != nil {
		return "", "", err
	}
	if err := p.place(filepath.Dir(im.Files[0].Path), dir); err != nil {
		return "", "", err
	}
	p.step("remotes.publish.placed")
	raw, err := json.Marshal(v)
	if err != nil {
		return "", "", err
	}
	prod.versions[serial] = raw
	p.products[product] = prod
	return product, serial, p.describe(prod, im)
}

// plainSerial makes a serial a part of a path; "_" and ":" are usual in them.
func plainSerial(s string) string {
	parts := strings.Split(s, ":")
	for i := range parts {
		parts[i] = plain(parts[i])
	}
	return strings.Join(parts, ":")
}

// describe sets the fields of a product that an image tells.
func (p *Publication) describe(prod *publishedProduct, im PublishedImage) error {
	requirements := im.Requirements
	if requirements == nil {
		requirements = map[string]string{}
	}
	fields := map[string]any{
		"os": printable(im.OS), "release": printable(im.Release), "release_title": printable(im.Release), "arch": DebianArch(im.Arch),
		"variant": printable(im.variant()), "requirements": requirements, "lxd_requirements": requirements,
	}
	for k, v := range fields {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		prod.fields[k] = raw
	}
	return nil
}

// items hashes the files, gives them the names that servers use, and makes what
// the catalogue is to say of them. Metadata is there twice, for LXD and Incus.
func (p *Publication) items(ctx context.Context, im PublishedImage, dir string) (map[string]publishedItem, error) {
	stage := filepath.Dir(im.Files[0].Path)
	whole := sha256.New()
	all := make([]publishedItem, len(im.Files))
	for i, f := range im.Files {
		own := sha256.New()
		n, err := hashFile(ctx, f.Path, io.MultiWriter(own, whole))
		if err != nil {
			return nil, err
		}
		all[i] = publishedItem{SHA256: hex.EncodeToString(own.Sum(nil)), Size: n}
	}
	put := func(i int, item publishedItem, ftype, name string) (publishedItem, error) {
		item.FType, item.Path = ftype, dir+"/"+name
		return item, linkOrCopy(im.Files[i].Path, filepath.Join(stage, name))
	}
	out := map[string]publishedItem{}
	var errs []error
	add := func(i int, item publishedItem, key, ftype, name string) {
		it, err := put(i, item, ftype, name)
		errs = append(errs, err)
		out[key] = it
	}
	fingerprint := hex.EncodeToString(whole.Sum(nil))
	switch len(im.Files) {
	case 1:
		item := all[0]
		if im.Type == TypeVM {
			item.CombinedType = TypeVM
		}
		add(0, item, "lxd_combined.tar.gz", "lxd_combined.tar.gz", "lxd_combined.tar.gz")
		incus := out["lxd_combined.tar.gz"]
		incus.FType = "incus_combined.tar.gz"
		out["incus_combined.tar.gz"] = incus
	case 2:
		meta := all[0]
		name, key := "rootfs.squashfs", "root.squashfs"
		switch im.Files[1].FType {
		case "squashfs":
			meta.CombinedSquashfs = fingerprint
		case "root.tar.xz":
			meta.CombinedRootXZ, meta.Combined, name, key = fingerprint, fingerprint, "rootfs.tar.xz", "root.tar.xz"
		case "disk-kvm.img":
			meta.CombinedDisk, name, key = fingerprint, "disk.qcow2", "disk.qcow2"
		default:
			return nil, fmt.Errorf("a root of type %q is unknown", im.Files[1].FType)
		}
		add(0, meta, "lxd.tar.xz", "lxd.tar.xz", "lxd.tar.xz")
		add(0, meta, "incus.tar.xz", "incus.tar.xz", "incus.tar.xz")
		add(1, all[1], key, im.Files[1].FType, name)
	default:
		return nil, fmt.Errorf("an image has one or two files, not %d", len(im.Files))
	}
	for _, f := range im.Files {
		errs = append(errs, os.Remove(f.Path))
	}
	return out, errors.Join(errs...)
}

// hashFile gives a file's bytes to w, and syncs it.
func hashFile(ctx context.Context, path string, w io.Writer) (int64, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(w, readerFunc(func(b []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return f.Read(b)
	}))
	return n, errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// linkOrCopy gives a file a second name, or on a file system without links a copy.
func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // opened for reading
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Chmod(0o644), dst.Sync(), dst.Close())
}

// place moves a staged directory to its place, where a killed process may have
// left one that nothing names.
func (p *Publication) place(from, dir string) error {
	if err := syncDir(from); err != nil {
		return err
	}
	to := filepath.Join(p.dir, dir)
	if err := makeDirs(p.dir, filepath.Dir(dir)); err != nil {
		return err
	}
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
		if err = os.RemoveAll(to); err == nil {
			err = os.Rename(from, to)
		}
	}
	if err == nil {
		err = syncDir(filepath.Dir(to))
	}
	return err
}

// SetAliases gives a product its aliases. Other products of the architecture and
// type that have one of them lose it.
func (p *Publication) SetAliases(product string, aliases []string) error {
	prod := p.products[product]
	if prod == nil {
		return fmt.Errorf("there is no product %q", product)
	}
	clean := make([]string, 0, len(aliases))
	for _, a := range aliases {
		if !strings.Contains(a, ",") && !slices.Contains(clean, a) {
			clean = append(clean, a)
		}
	}
	for id, other := range p.products {
		if id == product || string(other.fields["arch"]) != string(prod.fields["arch"]) {
			continue
		}
		var list string
		if json.Unmarshal(other.fields["aliases"], &list) != nil {
			continue
		}
		have := aliasNames(list)
		kept := slices.DeleteFunc(slices.Clone(have), func(a string) bool { return slices.Contains(clean, a) })
		if len(kept) != len(have) {
			if err := other.setAliases(kept); err != nil {
				return err
			}
		}
	}
	return prod.setAliases(clean)
}

func (prod *publishedProduct) setAliases(aliases []string) error {
	raw, err := json.Marshal(strings.Join(aliases, ","))
	prod.fields["aliases"] = raw
	return err
}

// Prune leaves the keep newest versions of each product, at least one, and returns
// how many it took out. Their files go with Commit. Versions whose files are not
// where Add puts them stay.
func (p *Publication) Prune(keep int) int {
	n := 0
	for id, prod := range p.products {
		var serials []string
		for s := range prod.versions {
			serials = append(serials, s)
		}
		slices.Sort(serials)
		for _, s := range serials[:max(0, len(serials)-max(keep, 1))] {
			dirs := versionDirs(id, s, prod.versions[s])
			if len(dirs) == 0 {
				continue
			}
			p.obsolete = append(p.obsolete, dirs...)
			delete(prod.versions, s)
			n++
		}
	}
	return n
}

// versionDirs are the directories, of the form that this package gives them, of a
// version's files.
func versionDirs(product, serial string, raw json.RawMessage) []string {
	var v publishedVersion
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	want := strings.Join(append([]string{publishedDir}, append(strings.Split(product, ":"), serial)...), "/")
	for _, it := range v.Items {
		if checkPath(it.Path) == nil && strings.HasPrefix(it.Path, want+"/") && strings.Count(want, "/") == 5 {
			return []string{want}
		}
	}
	return nil
}
