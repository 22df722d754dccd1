package remotes

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Metadata items, the preferred first: of one root file with both, Incus's
// gives the image its fingerprint and LXD's an alternative one.
var metadataFTypes = []string{"incus.tar.xz", "lxd.tar.xz"}

// Unified items, in the same order.
var unifiedFTypes = []string{"incus_combined.tar.gz", "lxd_combined.tar.gz"}

// rootFTypes are the root items, in the order in which images are preferred.
var rootFTypes = []string{"squashfs", "root.tar.xz", "disk-kvm.img", "uefi1.img", "disk1.img"}

// vmFTypes are those of rootFTypes that are disks.
var vmFTypes = []string{"disk-kvm.img", "uefi1.img", "disk1.img"}

// maxFileSize bounds a file's size in a catalogue, so that sums cannot overflow.
const maxFileSize = 1 << 50

// skipped counts entries that are left out because they are not usable.
type skipped struct {
	n     int
	first error
}

func (s *skipped) add(err error) {
	if s.n++; s.n == 1 {
		s.first = err
	}
}

// expand gives the images of a products file, in no particular order and with
// the product's aliases not yet claimed. The rules are those of LXD 5.0 and
// Incus (shared/simplestreams/products.go of either): a version's name begins
// with its date; one image per metadata and root item that the metadata item
// has a combined hash for, and one per unified item.
func expand(f *productsFile, skip *skipped) []candidate {
	var all []candidate
	archs := archCache{}
	for _, id := range slices.Sorted(maps.Keys(f.Products)) {
		p := f.Products[id]
		arch := archs.name(p.Architecture)
		if arch == "" {
			continue
		}
		e := expander{p: &p, arch: arch, skip: skip, names: aliasNames(p.Aliases)}
		for serial, v := range p.Versions {
			if all = e.version(all, serial, &v); len(all) > maxImages {
				return all
			}
		}
	}
	offered := deltasOf(f)
	for i := range all {
		all[i].Deltas = offered[all[i].ftype+vcdiff]
	}
	return all
}

// candidate is an image with what is needed to sort it and to claim aliases.
type candidate struct {
	Image
	names       []string // the product's aliases
	productArch string   // "amd64"
	ftype       string   // of the root item; "tar.gz" for a unified one
}

// expander makes the images of one product.
type expander struct {
	p     *product
	arch  string
	names []string
	skip  *skipped
}

// version appends the images of one version.
func (e *expander) version(all []candidate, serial string, v *version) []candidate {
	if len(serial) < 8 {
		return all
	}
	date, err := time.Parse("20060102", serial[:8])
	if err != nil {
		return all
	}
	byType := firstByType(v.Items)
	for _, ftype := range rootFTypes {
		root, ok := byType[ftype]
		if !ok {
			continue
		}
		if c, ok := e.split(serial, date, v, byType, root); ok {
			all = append(all, c)
		}
	}
	var unified []string
	for _, ftype := range unifiedFTypes {
		it, ok := byType[ftype]
		if !ok || slices.Contains(unified, it.HashSha256) {
			continue
		}
		f, err := toFile(RoleUnified, it)
		if err != nil {
			e.skip.add(fmt.Errorf("%s %s: %w", e.p.Architecture, serial, err))
			continue
		}
		unified = append(unified, it.HashSha256)
		c := e.image(serial, date, v, f, unifiedType(it), "tar.gz")
		c.Fingerprint, c.Size = f.SHA256, f.Size
		all = append(all, c)
	}
	return all
}

// split makes the image of a root item, if a metadata item goes with it.
func (e *expander) split(serial string, date time.Time, v *version, byType map[string]*item, root *item) (candidate, bool) {
	var meta *item
	var prints []string
	for _, ftype := range metadataFTypes {
		m, ok := byType[ftype]
		if !ok {
			continue
		}
		fp := strings.ToLower(combined(m, root.FileType))
		if fp == "" || slices.Contains(prints, fp) {
			continue // LXD and Incus skip it too
		}
		if !isSHA256(fp) {
			e.skip.add(fmt.Errorf("%s: %q is no sha256", m.Path, fp))
			continue
		}
		if meta == nil {
			meta = m
		}
		prints = append(prints, fp)
	}
	if meta == nil {
		return candidate{}, false
	}
	mf, err1 := toFile(RoleMetadata, meta)
	rf, err2 := toFile(RoleRootfs, root)
	if err := errors.Join(err1, err2); err != nil {
		e.skip.add(err)
		return candidate{}, false
	}
	typ := TypeContainer
	if slices.Contains(vmFTypes, root.FileType) {
		typ = TypeVM
	}
	c := e.image(serial, date, v, mf, typ, root.FileType)
	c.Fingerprint, c.AltFingerprints = prints[0], prints[1:]
	c.Size = mf.Size + rf.Size
	c.Files = append(c.Files, rf)
	c.Files = append(c.Files, e.deltas(v, meta.FileType, root.FileType)...)
	return c, true
}

// image fills in what all images of a version have; first is its metadata or
// unified file.
func (e *expander) image(serial string, date time.Time, v *version, first File, typ, ftype string) candidate {
	p := e.p
	desc := p.OperatingSystem + " " + p.ReleaseTitle + " " + p.Architecture
	if v.Label != "" {
		desc += " (" + v.Label + ")"
	}
	desc += " (" + serial + ")"
	c := candidate{names: e.names, productArch: p.Architecture, ftype: ftype}
	c.Image = Image{
		Arch: e.arch, Type: typ, Public: true, Filename: printable(path.Base(first.Path)),
		Description: printable(desc), OS: printable(p.OperatingSystem), Release: printable(p.Release),
		Variant: printable(p.Variant), Serial: printable(serial),
		CreatedAt: date, UploadedAt: date, ExpiresAt: time.Unix(0, 0).UTC(),
		Files: []File{first},
	}
	if eol, err := time.Parse("2006-01-02", p.SupportedEOL); err == nil {
		c.ExpiresAt = eol
	}
	c.Properties = map[string]string{}
	set := func(k, v string) {
		if v != "" {
			c.Properties[printable(k)] = printable(v)
		}
	}
	for k, v := range p.LXDRequirements {
		set("requirements."+k, string(v))
	}
	for k, v := range p.Requirements {
		set("requirements."+k, string(v))
	}
	for k, v := range map[string]string{
		"os": p.OperatingSystem, "release": p.Release, "version": p.Version, "architecture": p.Architecture,
		"label": v.Label, "serial": serial, "description": desc, "variant": p.Variant, "type": ftype,
	} {
		set(k, v)
	}
	return c
}

// vcdiff follows the type of a root file in that of a delta for it.
const vcdiff = ".vcdiff"

// deltasOf says which types of deltas any version has.
func deltasOf(f *productsFile) map[string]bool {
	types := map[string]bool{}
	for _, p := range f.Products {
		for _, v := range p.Versions {
			for _, it := range v.Items {
				if strings.HasSuffix(it.FileType, vcdiff) {
					types[it.FileType] = true
				}
			}
		}
	}
	return types
}

// deltas lists the vcdiff files that lead to the version's root file from that
// of another version which is still there.
func (e *expander) deltas(v *version, metaFType, rootFType string) []File {
	if rootFType != "squashfs" && rootFType != "disk-kvm.img" {
		return nil
	}
	var files []File
	for _, key := range slices.Sorted(maps.Keys(v.Items)) {
		it := v.Items[key]
		if it.FileType != rootFType+vcdiff {
			continue
		}
		base, ok := e.p.Versions[it.DeltaBase]
		if !ok {
			continue
		}
		meta, ok := firstByType(base.Items)[metaFType]
		if !ok {
			continue
		}
		fp := strings.ToLower(combined(meta, rootFType))
		f, err := toFile(RoleDelta, &it)
		if err != nil || !isSHA256(fp) {
			continue
		}
		f.Base = fp
		files = append(files, f)
	}
	return files
}

// firstByType finds a version's items by type. Of several with one type, which
// the format cannot tell apart (one combined hash stands for all), the first
// by key counts.
func firstByType(items map[string]item) map[string]*item {
	m := make(map[string]*item, len(items))
	keys := make(map[string]string, len(items))
	for k, it := range items {
		if have, ok := keys[it.FileType]; !ok || k < have {
			keys[it.FileType], m[it.FileType] = k, &it
		}
	}
	return m
}

// combined is the hash that a metadata item states for itself and a root item.
func combined(meta *item, rootFType string) string {
	switch rootFType {
	case "squashfs":
		return meta.LXDHashSha256SquashFs
	case "root.tar.xz":
		if meta.LXDHashSha256RootXz != "" {
			return meta.LXDHashSha256RootXz
		}
		return meta.LXDHashSha256
	case "disk-kvm.img":
		return meta.LXDHashSha256DiskKvmImg
	case "disk1.img":
		return meta.LXDHashSha256DiskImg
	case "uefi1.img":
		return meta.LXDHashSha256DiskUefiImg
	}
	return ""
}

// unifiedType is the type of a unified item's image.
func unifiedType(it *item) string {
	if it.CombinedType == TypeVM || slices.Contains(vmFTypes, it.CombinedType) {
		return TypeVM
	}
	return TypeContainer
}

// toFile checks an item's path, hash and size.
func toFile(r Role, it *item) (File, error) {
	f := File{Role: r, FType: it.FileType, Path: it.Path, SHA256: strings.ToLower(it.HashSha256), Size: int64(it.Size)}
	return f, f.check()
}

// check tells whether a file can be downloaded and verified.
func (f File) check() error {
	if err := checkPath(f.Path); err != nil {
		return fmt.Errorf("the path %q is refused: %w", f.Path, err)
	}
	if !isSHA256(f.SHA256) {
		return fmt.Errorf("%s: %q is no sha256", f.Path, f.SHA256)
	}
	if f.Size < 1 || f.Size > maxFileSize {
		return fmt.Errorf("%s: a size of %d bytes cannot be", f.Path, f.Size)
	}
	return nil
}

// isSHA256 tells 64 lower-case hex digits.
func isSHA256(s string) bool {
	return len(s) == 64 && isHex(s)
}

// isHex tells a string of lower-case hex digits; "" is one.
func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
