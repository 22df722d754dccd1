package btrfs

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func BenchmarkSnapshot(b *testing.B) {
	mnt := newFS(b)
	must(b, CreateSubvolume(mnt+"/src"))
	write(b, mnt+"/src/file", "x")
	for i := 0; b.Loop(); i++ {
		must(b, Snapshot(mnt+"/src", mnt+"/s"+strconv.Itoa(i), true))
	}
}

func BenchmarkSnapshotTree(b *testing.B) {
	mnt := newFS(b)
	must(b, CreateSubvolume(mnt+"/src"))
	for i := 0; b.Loop(); i++ {
		must(b, SnapshotTree(b.Context(), mnt+"/src", mnt+"/s"+strconv.Itoa(i), true))
	}
}

func BenchmarkSnapshotTreeNested9(b *testing.B) {
	mnt := newFS(b)
	makeTree(b, mnt+"/src")
	for i := 0; b.Loop(); i++ {
		must(b, SnapshotTree(b.Context(), mnt+"/src", mnt+"/s"+strconv.Itoa(i), true))
	}
}

func BenchmarkDelete(b *testing.B) {
	mnt := newFS(b)
	must(b, CreateSubvolume(mnt+"/src"))
	write(b, mnt+"/src/file", "x")
	for b.Loop() {
		b.StopTimer()
		must(b, Snapshot(mnt+"/src", mnt+"/s", true))
		b.StartTimer()
		must(b, DeleteTree(b.Context(), mnt+"/s"))
	}
}

func BenchmarkCreateSubvolume(b *testing.B) {
	mnt := newFS(b)
	for i := 0; b.Loop(); i++ {
		must(b, CreateSubvolume(mnt+"/s"+strconv.Itoa(i)))
	}
}

func BenchmarkSetReadOnly(b *testing.B) {
	mnt := newFS(b)
	must(b, CreateSubvolume(mnt+"/s"))
	for i := 0; b.Loop(); i++ {
		must(b, SetReadOnly(mnt+"/s", i%2 == 0))
	}
}

func BenchmarkSync(b *testing.B) {
	mnt := newFS(b)
	for b.Loop() {
		write(b, mnt+"/f", "x")
		must(b, Sync(mnt))
	}
}

func BenchmarkStat(b *testing.B) {
	mnt := newFS(b)
	must(b, CreateSubvolume(mnt+"/s"))
	for b.Loop() {
		_, err := Stat(mnt + "/s")
		must(b, err)
	}
}

func BenchmarkList1000(b *testing.B) {
	mnt := newFS(b)
	for i := range 1000 {
		must(b, CreateSubvolume(mnt+"/s"+strconv.Itoa(i)))
	}
	for b.Loop() {
		_, err := List(mnt)
		must(b, err)
	}
}

func BenchmarkGetUsage(b *testing.B) {
	mnt := newFS(b)
	for b.Loop() {
		_, err := GetUsage(mnt)
		must(b, err)
	}
}

func BenchmarkMountsOf(b *testing.B) {
	mnt := newFS(b)
	info, err := FSInfo(mnt)
	must(b, err)
	for b.Loop() {
		_, err := MountsOf(info.UUID)
		must(b, err)
	}
}

func BenchmarkMkfsFile(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR, 0o600)
		must(b, err)
		must(b, f.Truncate(2<<30))
		must(b, Mkfs(b.Context(), "file", f, MkfsOptions{}))
		must(b, f.Close())
	}
}
