package images

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
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

// rated is a file as it comes from a mirror at 100 Mbit/s: at most so many bytes
// since it was opened. Its end can be read before its turn, at the same rate.
type rated struct {
	*os.File
	opened time.Time
	sent   int64
	last   *time.Time // when the last byte came
}

const rate = 100_000_000 / 8 // bytes a second

func (r *rated) Read(p []byte) (int, error) {
	if r.opened.IsZero() {
		r.opened = time.Now()
	}
	n, err := r.File.Read(p[:min(len(p), 64<<10)])
	r.sent += int64(n)
	time.Sleep(time.Until(r.opened.Add(time.Duration(r.sent) * time.Second / rate)))
	if n > 0 {
		*r.last = time.Now()
	}
	return n, err
}

func (r *rated) ReadAt(p []byte, off int64) (int, error) {
	time.Sleep(time.Duration(len(p)) * time.Second / rate)
	return r.File.ReadAt(p, off)
}

// BenchmarkSlowMirror says how long after the last byte of a Debian squashfs, from
// a mirror at 100 Mbit/s, it is unpacked (POOLCTL_BENCH_ROOT as above).
func BenchmarkSlowMirror(b *testing.B) {
	root := os.Getenv("POOLCTL_BENCH_ROOT")
	if root == "" {
		b.Skip("POOLCTL_BENCH_ROOT names no Debian root")
	}
	meta, _ := splitFiles(b)
	for _, compression := range []string{"xz", "zstd"} {
		squash := filepath.Join(b.TempDir(), "root.squashfs")
		run(b, "mksquashfs", root, squash, "-quiet", "-no-progress", "-comp", compression)
		b.Run(compression, func(b *testing.B) {
			var last time.Time
			var after time.Duration
			n := 0
			eachDir(b, func(dir string) error {
				_, err := Unpack(context.Background(), Request{Metadata: bytesPart("meta", meta, nil), Dir: dir, Rootfs: &Part{
					Name: "root", Open: func(context.Context) (io.ReadCloser, error) {
						f, err := os.Open(squash)
						return &rated{File: f, last: &last}, err
					},
				}})
				after += time.Since(last)
				n++
				return err
			})
			b.ReportMetric(after.Seconds()/float64(n), "s-after-last-byte/op")
		})
	}
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
