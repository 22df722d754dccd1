package btrfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestSubvolumeLife(t *testing.T) {
	mnt := newFS(t)
	a, b := filepath.Join(mnt, "a name"), filepath.Join(mnt, "b\nb")
	must(t, CreateSubvolume(a))
	wantErr(t, "create over a subvolume", CreateSubvolume(a), fs.ErrExist)
	write(t, a+"/file", "one")

	must(t, Snapshot(a, b, true))
	wantErr(t, "write to a read-only snapshot", os.WriteFile(b+"/file", nil, 0o600), unix.EROFS)
	if ro, err := IsReadOnly(b); err != nil || !ro {
		t.Errorf("IsReadOnly of a read-only snapshot: %v, %v", ro, err)
	}
	sa, err := Stat(a)
	must(t, err)
	sb, err := Stat(b)
	must(t, err)
	if sa.ParentID != 5 || sa.ID < 256 || sa.Name != "a name" || sa.ReadOnly || sa.ParentUUID != "" || len(sa.UUID) != 36 || time.Since(sa.CreatedAt).Abs() > time.Minute {
		t.Errorf("Stat: %+v", sa)
	}
	if sb.ParentUUID != sa.UUID || !sb.ReadOnly || sb.Name != "b\nb" || sb.ID == sa.ID {
		t.Errorf("Stat of the snapshot: %+v", sb)
	}
	must(t, SetReadOnly(b, false))
	must(t, SetReadOnly(b, false))
	write(t, b+"/file", "two")
	must(t, SetReadOnly(b, true))
	must(t, DeleteSubvolume(b)) // read-only
	must(t, DeleteSubvolume(a))
	wantErr(t, "delete nothing", DeleteSubvolume(a), fs.ErrNotExist)
	if exists(t, a) || exists(t, b) {
		t.Error("deleted subvolumes are still there")
	}
	must(t, Sync(mnt))
}

// The kernel's own tool must see the same as Stat.
func TestStatAgainstBtrfsProgs(t *testing.T) {
	mnt := newFS(t)
	sub := filepath.Join(mnt, "sub")
	must(t, CreateSubvolume(sub))
	must(t, SetReadOnly(sub, true))
	s, err := Stat(sub)
	must(t, err)
	shown := run(t, "btrfs", "subvolume", "show", sub)
	for _, want := range []string{"UUID: \t\t\t" + s.UUID, "readonly", s.CreatedAt.Local().Format("2006-01-02 15:04:05")} {
		if !strings.Contains(shown, want) {
			t.Errorf("btrfs subvolume show has no %q:\n%s", want, shown)
		}
	}
	top, err := Stat(mnt)
	must(t, err)
	if top.ID != 5 || top.ParentID != 0 {
		t.Errorf("the top level: %+v", top)
	}
}

// btrfs-progs and dennwc/btrfs snapshot INTO an existing directory.
func TestSnapshotRefusesExisting(t *testing.T) {
	mnt := newFS(t)
	src := filepath.Join(mnt, "src")
	must(t, CreateSubvolume(src))
	must(t, os.Mkdir(mnt+"/dir", 0o700))
	must(t, CreateSubvolume(mnt+"/sub"))
	must(t, os.Symlink("dir", mnt+"/link"))
	must(t, os.Symlink("nowhere", mnt+"/dangling"))
	write(t, mnt+"/file", "")
	for _, dst := range []string{"dir", "dir/", "sub", "link", "dangling", "file", "src"} {
		wantErr(t, "Snapshot to "+dst, Snapshot(src, mnt+"/"+dst, false), fs.ErrExist)
		wantErr(t, "SnapshotTree to "+dst, SnapshotTree(t.Context(), src, mnt+"/"+dst, true), fs.ErrExist)
	}
	if entries, err := os.ReadDir(mnt + "/dir"); err != nil || len(entries) != 0 {
		t.Errorf("something is in the directory: %v, %v", entries, err)
	}
}

func TestSubvolumeErrors(t *testing.T) {
	mnt := newFS(t)
	src := filepath.Join(mnt, "src")
	must(t, CreateSubvolume(src))
	must(t, os.Mkdir(mnt+"/dir", 0o700))
	must(t, os.Symlink("src", mnt+"/link"))
	write(t, mnt+"/file", "")
	for _, name := range []string{"dir", "link", "file"} {
		path := mnt + "/" + name
		wantErr(t, "Snapshot of "+name, Snapshot(path, mnt+"/x", false), ErrNotSubvolume)
		wantErr(t, "DeleteSubvolume of "+name, DeleteSubvolume(path), ErrNotSubvolume)
		wantErr(t, "DeleteTree of "+name, DeleteTree(t.Context(), path), ErrNotSubvolume)
		wantErr(t, "SetReadOnly of "+name, SetReadOnly(path, true), ErrNotSubvolume)
		_, err := Stat(path)
		wantErr(t, "Stat of "+name, err, ErrNotSubvolume)
		if is, err := IsSubvolume(path); is || err != nil {
			t.Errorf("IsSubvolume of %s: %v, %v", name, is, err)
		}
	}
	if is, err := IsSubvolume(src); !is || err != nil {
		t.Errorf("IsSubvolume: %v, %v", is, err)
	}
	_, err := IsSubvolume(mnt + "/none")
	wantErr(t, "IsSubvolume of nothing", err, fs.ErrNotExist)
	wantErr(t, "Snapshot of nothing", Snapshot(mnt+"/none", mnt+"/x", false), fs.ErrNotExist)
	wantErr(t, "Snapshot to nowhere", Snapshot(src, mnt+"/none/x", false), fs.ErrNotExist)
	wantErr(t, "Snapshot to a long name", Snapshot(src, mnt+"/"+strings.Repeat("n", 256), false), unix.ENAMETOOLONG)
	must(t, Snapshot(src, mnt+"/"+strings.Repeat("n", 255), false))
	wantErr(t, "Snapshot to a dot", Snapshot(src, "..", false), unix.EINVAL)
	tmp := t.TempDir() // another file system
	wantErr(t, "DeleteSubvolume elsewhere", DeleteSubvolume(tmp), ErrNotSubvolume)
	wantErr(t, "DeleteSubvolume of nothing elsewhere", DeleteSubvolume(tmp+"/none"), fs.ErrNotExist)
	wantErr(t, "Sync elsewhere", Sync(tmp), unix.ENOTTY)
	if err := Snapshot(src, tmp+"/x", false); err == nil {
		t.Error("a snapshot on another file system")
	}
	must(t, unix.Mount("", mnt, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	wantErr(t, "CreateSubvolume on a read-only mount", CreateSubvolume(mnt+"/y"), unix.EROFS)
	wantErr(t, "Snapshot on a read-only mount", Snapshot(src, mnt+"/y", false), unix.EROFS)
	wantErr(t, "DeleteSubvolume on a read-only mount", DeleteSubvolume(src), unix.EROFS)
}

// To delete must not wait for the cleaner: just after it the kernel still has
// the root of the deleted subvolume, with all that is in it.
func TestDeleteDoesNotWait(t *testing.T) {
	mnt := newFS(t)
	sub := filepath.Join(mnt, "sub")
	must(t, CreateSubvolume(sub))
	for i := range 2000 {
		write(t, fmt.Sprintf("%s/%d", sub, i), "x")
	}
	st, err := Stat(sub)
	must(t, err)
	must(t, DeleteSubvolume(sub))
	dir, err := openDir(mnt)
	must(t, err)
	defer func() { _ = dir.Close() }()
	item, err := newSearcher(dir).first(rootTreeID, st.ID, rootItemKey)
	must(t, err)
	if item == nil {
		t.Error("the deleted subvolume is cleaned up already: something waited for that")
	}
	if got := listPaths(t, mnt); len(got) != 0 {
		t.Errorf("it is listed: %q", got)
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "...": true, "a b\n\xff": true, strings.Repeat("n", 255): true,
		"": false, ".": false, "..": false, "a/b": false, "/": false, "a\x00": false, strings.Repeat("n", 256): false,
	} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("checkName(%q): %v", name, err)
		}
	}
}

func TestFormatUUID(t *testing.T) {
	got := []string{formatUUID([16]byte{}), formatUUID([16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})}
	if diff := cmp.Diff([]string{"", "00010203-0405-0607-0809-0a0b0c0d0e0f"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestErrorsNameThePath(t *testing.T) {
	mnt := newFS(t)
	none := mnt + "/none"
	_, statErr := Stat(none)
	for _, err := range []error{DeleteSubvolume(none), SetReadOnly(none, true), statErr, Snapshot(none, mnt+"/x", true)} {
		if strings.Count(err.Error(), none) != 1 || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("not one path in: %v", err)
		}
	}
}
