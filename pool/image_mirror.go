package pool

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"poolctl/images"
	"poolctl/images/compress"
	"poolctl/pool/crash"
	"poolctl/remotes"
)

// PublishMirrorOptions are the arguments of PublishMirror.
type PublishMirrorOptions struct {
	Dir    string   // the tree; made when it is not there
	Images []string // aliases or fingerprints; none = all images but those that are only cached
	Public bool     // of all images those that are marked public
	Keep   int      // versions of each product, of containers and of virtual machines; 0 = all
	// Progress is told of the files that are written.
	Progress func(Progress)
}

// PublishedMirror is what PublishMirror did.
type PublishedMirror struct {
	Added, Kept []string // fingerprints, as they are served
	Pruned      int      // versions
	// Private is how many of them, where none is named, are not marked public.
	Private int
}

// PublishMirror writes images into a directory that any static web server serves
// as a simplestreams remote, for LXD, Incus and poolctl. Versions that are in the
// tree already are left as they are. The files are those that the images came as,
// so that they have the same fingerprints there; see ExportImage for those that the
// pool does not have.
//
// A product is OS:RELEASE:ARCH:VARIANT by the image's properties, or, where it has
// no property os, by its first alias, NAME/RELEASE/VARIANT. An image that was not
// pulled, and that has aliases, but not OS/RELEASE, is a variant by the name of its
// first alias: it was made of such an image, and is not the next version of it. So is
// one that was published of an instance with the properties of the instance's own
// image, by its fingerprint where it has no alias. The
// version is the property serial, or the time of the image's creation. The image's
// aliases are the product's besides OS/RELEASE: of several versions of a product,
// the newest has them, and the newest of its virtual machines.
//
// The tree is valid at every moment: see remotes.Publication.
func (s *System) PublishMirror(ctx context.Context, o PublishMirrorOptions) (out PublishedMirror, err error) {
	all, private, err := s.mirrored(ctx, o)
	if err != nil {
		return out, err
	}
	if o.Keep < 0 {
		return out, fmt.Errorf("cannot publish to %s: %d versions cannot be kept", o.Dir, o.Keep)
	}
	p, err := remotes.OpenPublication(ctx, o.Dir, crash.Point)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	m := &mirroring{s: s, p: p, o: o}
	m.out.Private = private
	for _, im := range all {
		if err := m.add(ctx, im); err != nil {
			return out, fmt.Errorf("cannot publish image %s to %s: %w", im.Fingerprint[:12], o.Dir, targetFull(err, o.Dir))
		}
	}
	if o.Keep > 0 {
		m.out.Pruned = p.Prune(o.Keep)
	}
	if err := p.Commit(ctx); err != nil {
		return out, targetFull(err, o.Dir)
	}
	return m.out, nil
}

// mirrored are the images to publish, each once, the oldest first, so that of
// several versions the newest gets the aliases; and how many of those that nobody
// named are not marked public.
func (s *System) mirrored(ctx context.Context, o PublishMirrorOptions) (out []Image, private int, err error) {
	all, err := s.Images(ctx, "")
	if err != nil {
		return nil, 0, err
	}
	for _, ref := range o.Images {
		im, err := pickImage(all, ref)
		if err != nil {
			return nil, 0, err
		}
		out = append(out, im)
	}
	if len(o.Images) == 0 {
		var others []Image
		if out, others = publicOf(all); !o.Public {
			out, private = append(out, others...), len(others)
		}
	}
	slices.SortStableFunc(out, func(a, b Image) int {
		return cmp.Or(cmp.Compare(serialOf(a), serialOf(b)), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return slices.CompactFunc(out, func(a, b Image) bool { return a.Fingerprint == b.Fingerprint }), private, nil
}

// publicOf are the images that are marked public, and the others that are not only
// cached, each of these once. One that is in several pools is public if it is so in one.
func publicOf(all []Image) (public, others []Image) {
	known := map[string]bool{}
	for _, im := range all {
		if im.Public {
			public, known[im.Fingerprint] = append(public, im), true
		}
	}
	for _, im := range all {
		if !im.Cached && !known[im.Fingerprint] {
			others, known[im.Fingerprint] = append(others, im), true
		}
	}
	return public, others
}

// serialOf names the version that an image is.
func serialOf(im Image) string {
	serial := im.Properties["serial"]
	if len(serial) >= 8 {
		if _, err := time.Parse("20060102", serial[:8]); err == nil {
			return serial
		}
	}
	at := im.CreatedAt
	if at.Unix() <= 0 {
		at = im.UploadedAt
	}
	return at.UTC().Format("20060102_15:04")
}

// mirroring is a PublishMirror on its way.
type mirroring struct {
	s   *System
	p   *remotes.Publication
	o   PublishMirrorOptions
	out PublishedMirror
	// aliases are those that were given, by product and type.
	aliases map[[2]string][]string
}

// add adds one image, unless it is there, and gives its product the aliases, if it
// is the newest version of its type.
func (m *mirroring) add(ctx context.Context, im Image) error {
	pub := publishedImage(im)
	product, serial, found := m.p.Find(im.Fingerprint)
	if found {
		m.out.Kept = append(m.out.Kept, im.Fingerprint)
	} else {
		var err error
		if product, serial, err = m.write(ctx, im, pub); err != nil {
			return err
		}
	}
	if m.p.Newest(product, im.Type) != serial {
		for _, a := range im.Aliases {
			m.s.noticef("alias %s is not served: the product %s has a newer version than image %s, and all aliases are the newest one's", a.Name, product, im.Fingerprint[:12])
		}
		return nil
	}
	aliases := pub.BaseAliases()
	for _, a := range im.Aliases {
		aliases = append(aliases, a.Name)
	}
	return m.p.SetAliases(product, m.withOtherType(product, im.Type, aliases))
}

// withOtherType adds to the aliases of a product's newest container those of its
// newest virtual machine, or the other way round, as a product has one list for both.
// Those of an image that is not published this time are what the tree has.
func (m *mirroring) withOtherType(product, imageType string, aliases []string) []string {
	if m.aliases == nil {
		m.aliases = map[[2]string][]string{}
	}
	m.aliases[[2]string{product, imageType}] = aliases
	other := remotes.TypeVM
	if imageType == remotes.TypeVM {
		other = remotes.TypeContainer
	}
	if m.p.Newest(product, other) == "" {
		return aliases
	}
	theirs, known := m.aliases[[2]string{product, other}]
	if !known {
		theirs = m.p.Aliases(product)
	}
	return slices.Concat(aliases, theirs)
}

// publishedImage says what an image is to a catalogue.
func publishedImage(im Image) remotes.PublishedImage {
	pub := remotes.PublishedImage{
		OS: im.Properties["os"], Release: im.Properties["release"], Variant: im.Properties["variant"],
		Arch: im.Architecture, Serial: serialOf(im), Type: im.Type, Requirements: map[string]string{},
	}
	alias := ""
	if len(im.Aliases) > 0 {
		alias = im.Aliases[0].Name
	}
	if pub.OS == "" {
		name := append(strings.SplitN(cmp.Or(alias, im.Fingerprint[:12]), "/", 3), "", "")
		pub.OS, pub.Release, pub.Variant = name[0], cmp.Or(pub.Release, name[1]), cmp.Or(pub.Variant, name[2])
	} else if isOwnProduct(im, pub) {
		// Made here, of an image with these properties: not the next version of that.
		pub.Variant = strings.ReplaceAll(cmp.Or(alias, im.Fingerprint[:12]), "/", "-")
	}
	pub.Release = cmp.Or(pub.Release, "current")
	for k, v := range im.Properties {
		if key, ok := strings.CutPrefix(k, "requirements."); ok {
			pub.Requirements[key] = v
		}
	}
	return pub
}

// isOwnProduct says whether an image is no version of the product that its properties
// name. One with the alias of that product is.
func isOwnProduct(im Image, pub remotes.PublishedImage) bool {
	if im.UpdateSource != nil || slices.ContainsFunc(im.Aliases, func(a ImageAlias) bool { return slices.Contains(pub.BaseAliases(), a.Name) }) {
		return false
	}
	return im.derived || len(im.Aliases) > 0 && cmp.Or(pub.Variant, "default") == "default"
}

// write writes an image's files into the tree.
func (m *mirroring) write(ctx context.Context, im Image, pub remotes.PublishedImage) (product, serial string, err error) {
	src, err := m.s.localSource(ctx, im.Fingerprint, "")
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	if err := m.s.targetRoom(ctx, src, m.o.Dir); err != nil {
		return "", "", err
	}
	dir, err := m.p.Stage()
	if err != nil {
		return "", "", err
	}
	create := func(name string) (*os.File, error) {
		path := filepath.Join(dir, "new-"+name)
		pub.Files = append(pub.Files, remotes.PublishedFile{Path: path})
		return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	}
	if src.repack == nil {
		err = m.copy(ctx, src, create)
		if err == nil {
			err = m.leaveUnknown(src, &pub)
		}
	}
	if err == nil && src.repack != nil {
		src.report(m.o.Progress)
		pub.Source = im.Fingerprint
		err = src.packAnew(ctx, create)
	}
	if err == nil {
		err = setFTypes(pub.Files)
	}
	if err != nil {
		return "", "", err
	}
	crash.Point("pool.publishmirror.written")
	m.out.Added = append(m.out.Added, im.Fingerprint)
	return m.p.Add(ctx, pub)
}

// copy copies the files that there are, and verifies them.
func (m *mirroring) copy(ctx context.Context, src *imageSource, create func(string) (*os.File, error)) error {
	sum := sha256.New()
	for _, part := range src.parts {
		f, err := create(part.name)
		if err != nil {
			return err
		}
		err = part.copyTo(ctx, io.MultiWriter(f, sum), m.o.Progress)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return src.verify(sum)
}

// leaveUnknown takes the copied files away again, and has the image packed anew, when LXD and Incus could not unpack one of
// them.
func (m *mirroring) leaveUnknown(src *imageSource, pub *remotes.PublishedImage) error {
	for i, file := range pub.Files {
		f, err := os.Open(file.Path)
		if err != nil {
			return err
		}
		known, err := images.KnownToLXD(f)
		format, ferr := images.FormatOf(f)
		if err = errors.Join(err, ferr, f.Close()); err != nil {
			return err
		}
		if known {
			continue
		}
		for _, file := range pub.Files {
			if err := os.Remove(file.Path); err != nil {
				return err
			}
		}
		pub.Files = nil
		return src.fromVolume(fmt.Errorf("LXD and Incus do not unpack its %s, a file of the format %s", src.parts[i].name, format))
	}
	return nil
}

// setFTypes says of a root what it is.
func setFTypes(files []remotes.PublishedFile) error {
	if len(files) != 2 {
		return nil
	}
	f, err := os.Open(files[1].Path)
	if err != nil {
		return err
	}
	format, err := images.FormatOf(f)
	switch format {
	case compress.Squashfs:
		files[1].FType = "squashfs"
	case compress.QCOW2:
		files[1].FType = "disk-kvm.img"
	default:
		files[1].FType = "root.tar.xz"
	}
	return errors.Join(err, f.Close())
}
