package pool

import (
	"os"
	"strings"
	"testing"
)

// TestImportRawDisk: a raw disk is refused, with what makes a qcow2 of it.
func TestImportRawDisk(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	f := newImageFiles(t)
	for name, mark := range map[string]string{"with a boot sector": "\x55\xaa", "without": ""} {
		disk := make([]byte, 1<<20)
		copy(disk, "some boot code")
		copy(disk[510:], mark)
		if err := os.WriteFile(f.path("disk.raw"), disk, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := s.ImportImage(t.Context(), ImportImageOptions{Files: []string{f.meta, f.path("disk.raw")}})
		if err == nil || !strings.Contains(hintOf(err), "qemu-img convert -O qcow2") {
			t.Errorf("%s: %v, hint %q", name, err, hintOf(err))
		}
	}
}
