package remotes

import (
	"cmp"
	"strings"
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

// plainSerial makes a serial a part of a path; "_" and ":" are usual in them.
func plainSerial(s string) string {
	parts := strings.Split(s, ":")
	for i := range parts {
		parts[i] = plain(parts[i])
	}
	return strings.Join(parts, ":")
}
