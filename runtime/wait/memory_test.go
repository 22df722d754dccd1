package wait

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// residentIn is how much of the addresses is mapped to pages, in KiB (man
// proc_pid_smaps).
func residentIn(t *testing.T, start, end uintptr) (kib int) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	in := false
	for line := range strings.Lines(string(data)) {
		if from, to, _, ok := mappingOf([]byte(strings.TrimSuffix(line, "\n"))); ok {
			in = from >= start && to <= end
			continue
		}
		var n int
		if _, err := fmt.Sscanf(line, "Rss: %d kB", &n); err == nil && in {
			kib += n
		}
	}
	return kib
}

// After memory was given back, one touched page of a file brings its
// surroundings, and not the 2 MB that the page cache may have it in.
func TestDropText(t *testing.T) {
	const size = 8 << 20
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, bytes.Repeat([]byte{1}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Munmap(data) }()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	start := uintptr(unsafe.Pointer(&data[0]))
	sum := 0
	for range 2 { // the second time the mappings are in pieces already
		for at := 0; at < size; at += os.Getpagesize() {
			sum += int(data[at])
		}
		if n := residentIn(t, start, start+size); n < size>>10 {
			t.Fatalf("%d KiB are mapped after all was touched", n)
		}
		dropText()
		if n := residentIn(t, start, start+size); n != 0 {
			t.Errorf("%d KiB are still mapped", n)
		}
		for at := size / 16; at < size; at += size / 4 {
			sum += int(data[at])
		}
		if n := residentIn(t, start, start+size); n < 4*4 || n > 4*piece>>10 {
			t.Errorf("four pages that were touched have brought %d KiB", n)
		}
	}
	if want := 2 * (size/os.Getpagesize() + 4); sum != want {
		t.Errorf("read %d, want %d", sum, want)
	}
}
