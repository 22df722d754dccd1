package runtime

import (
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestHostileMounts runs commands in, looks at and stops an instance that has
// mounted something over all that poolctl has mounted there.
func TestHostileMounts(t *testing.T) {
	for name, script := range map[string]string{
		"over":   "for d in /sys/fs/cgroup /sys /proc /etc /root /tmp /dev; do mount -t tmpfs none $d || exit 1; done; mkdir /proc/1; ln -s / /proc/1/root; ln -s /root /dev/pts; ln -s /etc /proc/self",
		"gone":   "umount -l /dev/pts; umount -l /dev; umount -l /sys; umount -l /proc; rmdir /dev /proc /sys; ln -s /tmp /dev; ln -s /tmp /proc",
		"itself": "mount --rbind / /tmp && mount --rbind /tmp /root && mount --make-rshared /",
	} {
		t.Run(name, func(t *testing.T) {
			inst := start(t, testSpec(t, busyboxRoot(t)))
			if out, code := run(t, inst, "", "sh", "-c", script); code != 0 && name != "gone" {
				t.Fatalf("exit status %d: %s", code, out)
			}
			if out, code := run(t, inst, "x", "sh", "-c", "cat; echo y"); code != 0 || out != "xy\n" {
				t.Errorf("exec: %d, %q", code, out)
			}
			if out, code := runWith(t, inst, "", ExecOptions{Args: []string{"pwd"}, Cwd: "/tmp"}); code != 0 || out != "/tmp\n" {
				t.Errorf("exec with a directory: %d, %q", code, out)
			}
			if _, err := inst.Stats(); err != nil {
				t.Error(err)
			}
			if _, err := inst.Interfaces(); err != nil {
				t.Error(err)
			}
			disk := t.TempDir()
			if err := inst.AttachDisk(t.Context(), Disk{Device: "d", Source: disk, Path: "/bin/../mnt/d"}); err != nil {
				t.Error(err)
			}
			if err := inst.DetachDisk("d"); err != nil {
				t.Error(err)
			}
			begin := time.Now()
			if err := inst.Stop(t.Context(), StopOptions{Timeout: 10 * time.Second}); err != nil {
				t.Errorf("after %v: %v", time.Since(begin), err)
			}
		})
	}
}

// TestOpenFiles stops an instance of which something keeps files, directories and
// mounts busy, also in namespaces of its own.
func TestOpenFiles(t *testing.T) {
	root := busyboxRoot(t)
	inst := start(t, testSpec(t, root))
	script := `for i in 1 2 3; do (cd /tmp; exec setsid unshare -Um sleep 1000 < /etc/passwd > /dev/null 2>&1) & done
setsid sh -c 'trap "" TERM HUP INT; mount -t tmpfs none /mnt; cd /mnt; exec sleep 1000' > /dev/null 2>&1 & sleep 0.1`
	if err := os.Mkdir(filepath.Join(root, "mnt"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, code := run(t, inst, "", "sh", "-c", script); code != 0 {
		t.Fatalf("exit status %d: %s", code, out)
	}
	if err := inst.Stop(t.Context(), StopOptions{Force: true}); err != nil {
		t.Error(err)
	}
}

// TestSessionKeyring looks for the caller's keys from inside, without a filter
// that would refuse to.
func TestSessionKeyring(t *testing.T) {
	s := testSpec(t, attemptRoot(t))
	s.Filter = nil
	inst := start(t, s)
	done := make(chan string)
	go func() {
		goruntime.LockOSThread() // not unlocked: the keyring ends with the thread
		defer close(done)
		if _, _, errno := unix.RawSyscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0); errno != 0 {
			done <- errno.Error()
			return
		}
		if _, err := unix.AddKey("user", escapeName, []byte("secret"), unix.KEY_SPEC_SESSION_KEYRING); err != nil {
			done <- err.Error()
			return
		}
		if err := searchKey(); err != nil {
			done <- "the caller does not find its own key: " + err.Error()
			return
		}
		out, _ := runWith(t, inst, "", ExecOptions{Args: []string{"/attempt"}, Env: map[string]string{attemptEnv: "session-key-inside"}})
		done <- out
	}()
	if out := <-done; !strings.HasPrefix(out, "contained: ") {
		t.Error(out)
	}
}

// searchKey looks for a key in the session keyring.
func searchKey() error {
	kind, _ := unix.BytePtrFromString("user")
	name, _ := unix.BytePtrFromString(escapeName)
	session := unix.KEY_SPEC_SESSION_KEYRING
	_, _, errno := unix.RawSyscall6(unix.SYS_KEYCTL, unix.KEYCTL_SEARCH, uintptr(session), uintptr(unsafe.Pointer(kind)), uintptr(unsafe.Pointer(name)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
