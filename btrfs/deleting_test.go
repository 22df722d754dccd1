package btrfs

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A deleted subvolume is being freed for a while, and then it is not.
func TestDeleting(t *testing.T) {
	mnt := newFS(t)
	vol := filepath.Join(mnt, "vol")
	if err := CreateSubvolume(vol); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(vol, "f"), make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Deleting(mnt); err != nil || got {
		t.Errorf("before: %v, %v", got, err)
	}
	if err := DeleteSubvolume(vol); err != nil {
		t.Fatal(err)
	}
	if got, err := Deleting(mnt); err != nil || !got {
		t.Errorf("just deleted: %v, %v", got, err)
	}
	for end := time.Now().Add(45 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err := Sync(mnt); err != nil {
			t.Fatal(err)
		}
		if got, err := Deleting(mnt); err != nil {
			t.Fatal(err)
		} else if !got {
			break
		}
		if time.Now().After(end) {
			t.Fatal("never freed")
		}
	}
}
