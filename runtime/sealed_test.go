package runtime

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What enters privileged instances is this program, from a file that root cannot
// write to.
func TestSealedProgram(t *testing.T) {
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = exe.Close() }()
	want, err := io.ReadAll(exe)
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]func(*os.File) (*os.File, error){"copy": copiedProgram}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	overlays := err == nil // else the kernel has none, and the copy is all there is
	if overlays {
		_ = unix.Close(fs)
		ways["overlay"] = overlaidProgram
	} else if !errors.Is(err, unix.ENODEV) {
		t.Fatal(err)
	}
	for name, open := range ways {
		t.Run(name, func(t *testing.T) {
			if _, err := exe.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			program, err := open(exe)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = program.Close() }()
			got, err := os.ReadFile(pathOf(program))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("it is another program: %d bytes, %v", len(got), err)
			}
			// As far as root gets who has it as /proc/PID/exe.
			writable := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
			if err := unix.MountSetattr(int(program.Fd()), "", unix.AT_EMPTY_PATH, &writable); err == nil {
				t.Error("its mount was made writable")
			}
			for _, flags := range []int{os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC} {
				if f, err := os.OpenFile(pathOf(program), flags, 0); err == nil {
					_, err = f.Write([]byte("x"))
					if cerr := f.Close(); err == nil || cerr != nil {
						t.Errorf("it was opened with %#x, and written to: %v", flags, cerr)
					}
				}
			}
			if err := unix.Truncate(pathOf(program), 0); err == nil {
				t.Error("it was truncated")
			}
		})
	}
	// One that was replaced while it runs is not what is executed.
	other, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if f, err := overlaidProgram(other); err == nil {
		t.Error(errors.Join(errors.New("another program is at the path"), f.Close()))
	}
	program, err := sealedProgram()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Close() }()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(program.Fd()), &st); err != nil || overlays && st.Type != unix.OVERLAYFS_SUPER_MAGIC {
		t.Errorf("it was copied, which takes long: file system %#x, %v", st.Type, err)
	}
}
