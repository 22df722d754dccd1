package runtime

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOnOwnThread: never the main thread, which would stay wherever it was taken to.
func TestOnOwnThread(t *testing.T) {
	var all sync.WaitGroup
	for range 400 {
		all.Go(func() {
			err := onOwnThread(func() error {
				if unix.Gettid() == unix.Getpid() {
					t.Error("on the main thread")
				}
				return unix.Unshare(unix.CLONE_FS)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
