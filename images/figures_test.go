package images

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkBesideUnsquashfs unpacks a Debian squashfs (xz; POOLCTL_BENCH_ROOT as for
// BenchmarkUnpack, or POOLCTL_BENCH_SQUASHFS a file that is there) by turns with
// unsquashfs, and reports the medians of the ratios of their wall clock and of the
// processor time, that of child processes included: at most 1.1 is the aim.
func BenchmarkBesideUnsquashfs(b *testing.B) {
	squash := os.Getenv("POOLCTL_BENCH_SQUASHFS")
	if squash == "" {
		root := os.Getenv("POOLCTL_BENCH_ROOT")
		if root == "" {
			b.Skip("neither POOLCTL_BENCH_ROOT nor POOLCTL_BENCH_SQUASHFS is set")
		}
		squash = filepath.Join(b.TempDir(), "root.squashfs")
		run(b, "mksquashfs", root, squash, "-quiet", "-no-progress", "-comp", "xz")
	}
	meta, _ := splitFiles(b)
	var walls, cpus []float64
	for b.Loop() {
		b.StopTimer()
		plainWall, plainCPU := cost(b, func(dir string) error {
			return exec.Command("unsquashfs", "-q", "-n", "-f", "-d", dir, squash).Run()
		})
		b.StartTimer()
		wall, cpu := cost(b, func(dir string) error {
			_, err := Unpack(b.Context(), Request{Metadata: bytesPart("meta", meta, nil), Rootfs: filePart(squash), Dir: dir})
			return err
		})
		walls = append(walls, wall.Seconds()/plainWall.Seconds())
		cpus = append(cpus, cpu.Seconds()/plainCPU.Seconds())
	}
	for unit, list := range map[string][]float64{"wall/unsquashfs": walls, "cpu/unsquashfs": cpus} {
		slices.Sort(list)
		b.ReportMetric(list[len(list)/2], unit)
	}
}

// cost is what f takes, in an empty directory that is removed then.
func cost(b *testing.B, f func(dir string) error) (wall, cpu time.Duration) {
	b.Helper()
	dir, err := os.MkdirTemp(b.TempDir(), "")
	if err != nil {
		b.Fatal(err)
	}
	before, began := processorTime(b), time.Now()
	if err := f(dir); err != nil {
		b.Fatal(err)
	}
	wall, cpu = time.Since(began), processorTime(b)-before
	b.StopTimer()
	if err := os.RemoveAll(dir); err != nil {
		b.Fatal(err)
	}
	b.StartTimer()
	return wall, cpu
}

// processorTime is what this process and the children that have ended used.
func processorTime(b *testing.B) (sum time.Duration) {
	b.Helper()
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}
