package pool

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/fixtures/testfs"
)

// shell runs a script with arguments, which must succeed.
func shell(t *testing.T, script string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", append([]string{"-ec", script, "sh"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// sumFile is the SHA-256 of a file.
func sumFile(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	f, err := os.Open(path)
	ok(t, err)
	h := sha256.New()
	_, err = io.Copy(h, f)
	ok(t, err, f.Close())
	return [sha256.Size]byte(h.Sum(nil))
}

// TestMountDisk mounts the root of a disk in each file system that roots are in, as a machine leaves it that is cut off: with
// a journal to replay. It is shown, two copies at the same time too, and not a byte changes.
func TestMountDisk(t *testing.T) {
	for kind, mkfs := range map[string]string{
		"ext4": "mkfs.ext4 -q -F", "xfs": "mkfs.xfs -q -f", "btrfs": "mkfs.btrfs -q -f",
	} {
		t.Run(kind, func(t *testing.T) {
			dir := testfs.Memory(t)
			disk, mnt := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
			// 340 MiB from sector 8192 on: XFS takes no less than 300. Its root is written to, and copied as it is on the device.
			loop := shell(t, `truncate -s 350M "$1"; mkdir "$2"
				printf 'label: gpt\nstart=2048, size=4096, type=uefi\nstart=8192, type=linux\n' | sfdisk -q "$1"
				losetup --find --show --offset 4194304 --sizelimit 356515840 "$1"`, disk, mnt)
			detach := func() { shell(t, `losetup -d "$1"`, loop) }
			shell(t, mkfs+` "$1" && mount "$1" "$2" && mkdir "$2/etc" && echo of-`+kind+` > "$2/etc/hostname" && fsfreeze -f "$2" && fsfreeze -u "$2" && echo late > "$2/etc/late" && sync "$2/etc/late"`, loop, mnt)
			copies := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
			for _, c := range copies {
				shell(t, `cp --sparse=always "$1" "$2"`, disk, c)
			}
			ok(t, unix.Unmount(mnt, 0))
			detach()
			for _, c := range copies {
				before := sumFile(t, c)
				at := c + ".mnt"
				ok(t, os.Mkdir(at, 0o700), mountDisk(t.Context(), c, "x86_64", at))
				t.Cleanup(func() {
					if err := unix.Unmount(at, 0); err != nil && !errors.Is(err, unix.EINVAL) {
						t.Error(err)
					}
				})
				if got, err := os.ReadFile(filepath.Join(at, "etc/hostname")); string(got) != "of-"+kind+"\n" || err != nil {
					t.Errorf("%s: %q, %v", c, got, err)
				}
				if err := os.WriteFile(filepath.Join(at, "x"), nil, 0o600); !errors.Is(err, unix.EROFS) {
					t.Errorf("%s: written to: %v", c, err)
				}
				var st unix.Statfs_t
				ok(t, unix.Statfs(at, &st))
				if want := int64(unix.ST_RDONLY | unix.ST_NOSUID | unix.ST_NODEV); st.Flags&want != want {
					t.Errorf("%s: flags %#x", c, st.Flags)
				}
				if sumFile(t, c) != before {
					t.Errorf("%s has changed", c)
				}
			}
			for _, c := range copies {
				ok(t, unix.Unmount(c+".mnt", 0))
			}
			left := ""
			for range 100 {
				if left = shell(t, `losetup --list --noheadings --output BACK-FILE`); !strings.Contains(left, dir) {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
			t.Errorf("left: %s", left)
		})
	}
	if err := mountDisk(t.Context(), "/dev/zero", "x86_64", t.TempDir()); err == nil || !strings.Contains(fmt.Sprint(err), "is not a plain file") {
		t.Errorf("a device: %v", err)
	}
}
