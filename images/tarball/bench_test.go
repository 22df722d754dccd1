package tarball

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/images/compress"
	"poolctl/images/internal/testtree"
)

// benchArchives: a real Alpine, and a Debian where POOLCTL_BENCH_ROOT names a
// directory that holds one (debootstrap --variant=minbase).
func benchArchives(b *testing.B) map[string]string {
	all := map[string]string{"alpine.tar.gz": filepath.Join(testtree.Shared(b), "alpine", "alpine-minirootfs-3.20.3-x86_64.tar.gz")}
	if root := os.Getenv("POOLCTL_BENCH_ROOT"); root != "" {
		for suffix, flag := range map[string]string{".tar": "-cf", ".tar.gz": "-czf", ".tar.xz": "-cJf"} {
			path := filepath.Join(b.TempDir(), "debian"+suffix)
			if out, err := exec.Command("tar", "-C", root, "--xattrs", flag, path, ".").CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			all["debian"+suffix] = path
		}
	}
	return all
}

func BenchmarkExtract(b *testing.B) {
	for name, path := range benchArchives(b) {
		data, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/ours", func(b *testing.B) {
			eachRun(b, func(dir string) {
				r, err := compress.NewReader(context.Background(), compress.Detect(data[:512]), bytes.NewReader(data))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := extractTo(b, dir, r, Policy{}, Limits{}); err != nil {
					b.Fatal(err)
				}
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			})
		})
		b.Run(name+"/gnutar", func(b *testing.B) {
			eachRun(b, func(dir string) {
				cmd := exec.Command("tar", "-C", dir, "--numeric-owner", "--xattrs-include=*", "-xp"+decompressFlag(name)+"f", path)
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
			})
		})
	}
}

func decompressFlag(name string) string {
	switch {
	case strings.HasSuffix(name, ".gz"):
		return "z"
	case strings.HasSuffix(name, ".xz"):
		return "J"
	}
	return ""
}

func eachRun(b *testing.B, f func(dir string)) {
	top := b.TempDir()
	for b.Loop() {
		b.StopTimer()
		dir, err := os.MkdirTemp(top, "")
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		f(dir)
		b.StopTimer()
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
