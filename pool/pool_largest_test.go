package pool

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A size that no file can have where the pool would be is refused with the largest one.
func TestLargestPoolFile(t *testing.T) {
	s := newSystem(t)
	err := s.CreatePool(t.Context(), CreatePoolOptions{Name: "p", Config: map[string]string{"size": "7EiB"}})
	if hint := hintOf(err); !errors.Is(err, unix.EFBIG) || !strings.Contains(hint, "files of ") || strings.Contains(hint, "files of 0") {
		t.Errorf("%v (%s)", err, hint)
	}
}
