package loopdev

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// attachVariable makes the test binary attach its value and wait to be killed.
const attachVariable = "LOOPDEV_TEST_ATTACH"

// attachAndWait is what the process of TestKilled does.
func attachAndWait(path string) {
	d, err := Attach(context.Background(), path, AttachOptions{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("attached", d.Path())
	select {}
}

// A process that is killed leaves no device, and its file can be attached again.
func TestKilled(t *testing.T) {
	path := tempFile(t, 1<<20)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), attachVariable+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if killErr := cmd.Process.Kill(); killErr != nil {
		t.Error(killErr)
	}
	_ = cmd.Wait() // "signal: killed"
	if err != nil || !strings.HasPrefix(line, "attached /dev/loop") {
		t.Fatalf("the process said %q: %v", line, err)
	}
	noDevice(t, path)
	mustAttach(t, path, AttachOptions{})
}
