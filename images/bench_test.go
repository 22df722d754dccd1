package images

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkUnpack unpacks the real images, and where POOLCTL_BENCH_ROOT names a
// directory with a Debian (debootstrap --variant=minbase) that one as squashfs and
// as archive, beside the plain programs.
func BenchmarkUnpack(b *testing.B) {
	server, list := oracle(b)
	for _, img := range list {
		if img.Alias != "alpine" && img.Alias != "alpinelinux/3.8" {
			continue
		}
		b.Run(filepath.Base(img.Alias), func(b *testing.B) {
			unpackRuns(b, func(dir string) Request {
				meta := filePart(filepath.Join(server, img.Meta.Path))
				if img.Root == nil {
					return Request{Unified: meta, Dir: dir}
				}
				return Request{Metadata: meta, Rootfs: filePart(filepath.Join(server, img.Root.Path)), Dir: dir}
			})
		})
	}
	root := os.Getenv("POOLCTL_BENCH_ROOT")
	if root == "" {
		return
	}
	meta, _ := splitFiles(b)
	squash, archive := filepath.Join(b.TempDir(), "root.squashfs"), filepath.Join(b.TempDir(), "root.tar.xz")
	run(b, "mksquashfs", root, squash, "-quiet", "-no-progress", "-comp", "xz")
	run(b, "sh", "-c", "tar -C "+root+" --xattrs -c . | xz -T0 -1 > "+archive)
	for _, path := range []string{squash, archive} {
		b.Run("debian/"+filepath.Base(path), func(b *testing.B) {
			unpackRuns(b, func(dir string) Request {
				return Request{Metadata: bytesPart("meta", meta, nil), Rootfs: filePart(path), Dir: dir}
			})
		})
	}
	b.Run("debian/plain unsquashfs", func(b *testing.B) {
		eachDir(b, func(dir string) error {
			return exec.Command("unsquashfs", "-q", "-n", "-f", "-d", dir, squash).Run()
		})
	})
	b.Run("debian/plain tar", func(b *testing.B) {
		eachDir(b, func(dir string) error {
			return exec.Command("tar", "-C", dir, "--numeric-owner", "--xattrs-include=*", "-xpf", archive).Run()
		})
	})
}

func unpackRuns(b *testing.B, request func(dir string) Request) {
	eachDir(b, func(dir string) error {
		_, err := Unpack(context.Background(), request(dir))
		return err
	})
}

func eachDir(b *testing.B, f func(dir string) error) {
	top := b.TempDir()
	for b.Loop() {
		b.StopTimer()
		dir, err := os.MkdirTemp(top, "")
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := f(dir); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
