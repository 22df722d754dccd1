package progress

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBarsWithoutSize: a terminal that has no size, as each is until somebody sets
// one, shows bars as one of 80 columns does.
func TestBarsWithoutSize(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = master.Close() }()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tty.Close() }()

	r := New(tty, Bars)
	r.Update("rootfs", 1, 2048)
	time.Sleep(2 * refresh)
	r.Update("rootfs", 2048, 2048)
	r.Close(true)
	shown := make([]byte, 64<<10)
	got, err := master.Read(shown) // what was written is there
	if err != nil {
		t.Fatal(err)
	}
	if text := string(shown[:got]); !strings.Contains(text, "rootfs") || !strings.Contains(text, "[") {
		t.Errorf("%q", text)
	}
}
