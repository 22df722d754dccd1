package remotes

import (
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
	"strings"
	"syscall"
)

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
