package pool

import (
	"context"
	"strings"
	"testing"
	"time"
)

// TestLockImageWaits: a command that waits for an image's lock says so after a while, once, and not before.
func TestLockImageWaits(t *testing.T) {
	s := newSystem(t)
	told := make(chan string, 9)
	s.notice = func(line string) { told <- line }
	fingerprint := strings.Repeat("ab", 32)
	unlock, err := s.lockImage(t.Context(), fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		again, err := s.lockImage(ctx, fingerprint)
		if err == nil {
			again()
		}
		ended <- err
	}()
	select {
	case line := <-told:
		if line != "waiting for another command, which is at work on image abababababab" {
			t.Errorf("told: %s", line)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing is told")
	}
	unlock()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	cancel()
	if again, err := s.lockImage(t.Context(), fingerprint); err != nil {
		t.Error(err)
	} else {
		again()
	}
	if len(told) > 0 {
		t.Errorf("told too: %s", <-told)
	}
}
