package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMkfsMinimum(t *testing.T) {
	small := filepath.Join(t.TempDir(), "small")
	write(t, small, "")
	must(t, os.Truncate(small, MinSize-1))
	err := Mkfs(t.Context(), small, nil, MkfsOptions{})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint(MinSize)) {
		t.Errorf("a file that is too small: %v", err)
	}
	must(t, os.Truncate(small, MinSize))
	must(t, Mkfs(t.Context(), small, nil, MkfsOptions{}))
	mnt := mountImage(t, small)
	write(t, mnt+"/file", strings.Repeat("x", 1<<20))
	must(t, Sync(mnt))

	// Where other rules hold, mkfs.btrfs judges.
	mixed := small + ".mixed"
	write(t, mixed, "")
	must(t, os.Truncate(mixed, 20<<20))
	must(t, Mkfs(t.Context(), mixed, nil, MkfsOptions{ExtraArgs: []string{"--mixed"}}))
	must(t, os.Truncate(mixed, 1<<20))
	err = Mkfs(t.Context(), mixed, nil, MkfsOptions{ExtraArgs: []string{"--mixed", "-f"}})
	if err == nil || !strings.Contains(err.Error(), "minimum size") {
		t.Errorf("too small for mixed block groups: %v", err)
	}
}

func TestMkfsUnnamedFile(t *testing.T) {
	dir := t.TempDir()
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR, 0o600)
	must(t, err)
	defer func() { _ = f.Close() }()
	must(t, f.Truncate(200<<20))
	must(t, Mkfs(t.Context(), "the new file", f, MkfsOptions{Label: "-l a b"}))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("it left %v, %v", entries, err)
	}
	name := filepath.Join(dir, "linked")
	must(t, unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW))
	s, err := ReadSuper(name)
	must(t, err)
	if s.Label != "-l a b" || s.TotalBytes != 200<<20 {
		t.Errorf("%+v", s)
	}
	mountImage(t, name)

	err = Mkfs(t.Context(), "the new file", f, MkfsOptions{})
	if err == nil || !strings.Contains(err.Error(), "the new file") || !strings.Contains(err.Error(), "existing filesystem") {
		t.Errorf("over a file system: %v", err)
	}
}

func TestMkfsRefuses(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "fs.img")
	write(t, image, "")
	must(t, os.Truncate(image, 200<<20))
	for _, o := range []MkfsOptions{
		{Label: strings.Repeat("x", 255)},
		{Label: "a\nb"},
		{Label: "a/b"},
		{Label: "a\x00b"},
		{Nodesize: 1000},
		{Nodesize: -4096},
		{Nodesize: 1 << 17},
		{Nodesize: 1<<32 + 4096},
		{ExtraArgs: []string{"--no-such-option"}},
		{ExtraArgs: []string{"--data", "raid1"}},
	} {
		if err := Mkfs(t.Context(), image, nil, o); err == nil {
			t.Errorf("accepted %+v", o)
		}
	}
	if _, err := ReadSuper(image); !errors.Is(err, ErrNotBtrfs) {
		t.Errorf("after refusals: %v", err)
	}
	wantErr(t, "no file", Mkfs(t.Context(), dir+"/none", nil, MkfsOptions{}), fs.ErrNotExist)
	wantErr(t, "a directory", Mkfs(t.Context(), dir, nil, MkfsOptions{}), unix.EISDIR)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, "cancelled", Mkfs(ctx, image, nil, MkfsOptions{}), context.Canceled)
	run(t, "mkfs.ext4", "-q", image)
	if err := Mkfs(t.Context(), image, nil, MkfsOptions{}); err == nil || !strings.Contains(err.Error(), "existing filesystem (ext4)") {
		t.Errorf("over an ext4: %v", err)
	}
	must(t, Mkfs(t.Context(), image, nil, MkfsOptions{ExtraArgs: []string{"-f"}}))
}

// What is made must have no feature newer than Linux 5.15, that is no bit but
// these (fs/btrfs/ctree.h there).
func TestMkfsFeatures(t *testing.T) {
	s, err := ReadSuper(newImage(t, 200<<20, MkfsOptions{}))
	must(t, err)
	const compatRO, incompat = 0x7, 0x1fff
	if s.CompatRO&^compatRO != 0 || s.Incompat&^incompat != 0 {
		t.Errorf("compat_ro %#x, incompat %#x", s.CompatRO, s.Incompat)
	}
}

// Later btrfs-progs have the block group tree on by default. There a second
// run turns it off. This machine's mkfs.btrfs may not know it, so a program
// before it sets the bit.
func TestMkfsWithoutBlockGroupTree(t *testing.T) {
	image := newImage(t, 200<<20, MkfsOptions{})
	real, err := findMkfs()
	must(t, err)
	dir := t.TempDir()
	b := superBlock(t, image)
	b[180] |= compatROBlockGroupTree
	must(t, os.WriteFile(dir+"/super", sealed(b), 0o600))
	write(t, dir+"/"+mkfsProgram, fmt.Sprintf(`#!/bin/bash
echo "$@" >>%[1]s/args
if [[ "$*" = *^block-group-tree* ]]; then
	exec %[2]s --quiet --force "${@: -1}"
fi
%[2]s "$@" && exec dd if=%[1]s/super of="${@: -1}" bs=4096 seek=16 conv=notrunc status=none
`, dir, real))
	must(t, os.Chmod(dir+"/"+mkfsProgram, 0o700))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 200<<20))
	must(t, Mkfs(t.Context(), image, nil, MkfsOptions{Label: "x"}))
	s, err := ReadSuper(image)
	must(t, err)
	args, err := os.ReadFile(dir + "/args")
	must(t, err)
	if s.CompatRO&compatROBlockGroupTree != 0 || strings.Count(string(args), "\n") != 2 {
		t.Errorf("compat_ro %#x after the calls\n%s", s.CompatRO, args)
	}
}

// TestMkfsAgain: a run that fails before it has written anything is repeated, a few times.
func TestMkfsAgain(t *testing.T) {
	program, err := findMkfs()
	must(t, err)
	dir := t.TempDir()
	write(t, dir+"/"+mkfsProgram, fmt.Sprintf(`#!/bin/bash
echo >>%[1]s/calls
[ $(wc -l <%[1]s/calls) -gt $FAILS ] && exec %[2]s "$@"
echo "cannot check mount status" >&2
exit 1
`, dir, program))
	must(t, os.Chmod(dir+"/"+mkfsProgram, 0o700))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for fails, ok := range map[int]bool{1: true, mkfsTries - 1: true, mkfsTries: false} {
		t.Setenv("FAILS", fmt.Sprint(fails))
		write(t, dir+"/calls", "")
		image := fmt.Sprintf("%s/image%d", dir, fails)
		write(t, image, "")
		must(t, os.Truncate(image, 200<<20))
		if err := Mkfs(t.Context(), image, nil, MkfsOptions{}); (err == nil) != ok {
			t.Errorf("after %d failures: %v", fails, err)
		}
	}
}

func TestMkfsCancelled(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/"+mkfsProgram, "#!/bin/sh\nexec sleep 100\n")
	must(t, os.Chmod(dir+"/"+mkfsProgram, 0o700))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	write(t, dir+"/image", "")
	must(t, os.Truncate(dir+"/image", 200<<20))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	wantErr(t, "cancelled", Mkfs(ctx, dir+"/image", nil, MkfsOptions{}), context.DeadlineExceeded)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestMkfsEndsWithCaller: the program does not outlive a process that is killed: it would write to what the next one finds
// empty.
func TestMkfsEndsWithCaller(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mkfifo(dir+"/pid", 0o600))
	write(t, dir+"/"+mkfsProgram, fmt.Sprintf("#!/bin/sh\necho $$ >%s/pid\nexec sleep 100\n", dir))
	must(t, os.Chmod(dir+"/"+mkfsProgram, 0o700))
	write(t, dir+"/image", "")
	must(t, os.Truncate(dir+"/image", 200<<20))
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), "BTRFS_TEST_MKFS="+dir+"/image", "PATH="+dir+":"+os.Getenv("PATH"))
	must(t, child.Start())
	text, err := os.ReadFile(dir + "/pid")
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	must(t, child.Process.Kill())
	_ = child.Wait() // it was killed
	for end := time.Now().Add(5 * time.Second); unix.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it is still running: %v", unix.Kill(pid, unix.SIGKILL))
		}
	}
}

func TestFindMkfsWithoutPath(t *testing.T) {
	t.Setenv("PATH", "/nowhere")
	if path, err := findMkfs(); err != nil {
		t.Errorf("not found beside PATH: %q, %v", path, err)
	}
}

func TestLastLines(t *testing.T) {
	for in, want := range map[string]string{"": "", "\n\n": "", "a": "a", "a\nb\n": "a; b", "1\n\n2\n3\n4\n": "2; 3; 4"} {
		if got := lastLines(in, 3); got != want {
			t.Errorf("lastLines(%q) = %q, want %q", in, got, want)
		}
	}
}
