package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/fixtures/testfs"
)

// fingerprint and other are fingerprints of images.
var (
	fingerprint = strings.Repeat("0123456789abcdef", 4)
	other       = strings.Repeat("f", 64)
	third       = strings.Repeat("3", 64)
)

// testPool is a real btrfs in a sparse file in memory, mounted on a loop device.
type testPool struct {
	file, mnt string
	*Tree
}

// newPool makes a pool; it is unmounted when the test ends, which frees the loop device (mount -o loop sets autoclear).
func newPool(t testing.TB) *testPool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests must run as root: they mount loop devices")
	}
	p := &testPool{file: testfs.Image(t, 256<<20)}
	command(t, "mkfs.btrfs", "-q", p.file)
	p.mount(t)
	if err := p.Layout(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *testPool) mount(t testing.TB) {
	t.Helper()
	p.mnt = filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(p.mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-o", "loop", p.file, p.mnt)
	mnt := p.mnt
	t.Cleanup(func() {
		if err := unmount(mnt); err != nil {
			t.Error(err)
		}
	})
	tree, err := Open(p.mnt)
	if err != nil {
		t.Fatal(err)
	}
	p.Tree = tree
	t.Cleanup(func() { _ = tree.Close() }) // runs before the unmount; a test may have closed it
}

// unmount unmounts what is mounted at mnt, if anything is.
func unmount(mnt string) error {
	var err error
	for range 50 {
		err = unix.Unmount(mnt, unix.UMOUNT_NOFOLLOW)
		if err == nil || errors.Is(err, unix.EINVAL) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("cannot unmount %s: %w", mnt, err)
}

// swap replaces the mounted pool by what file holds now: after a power cut.
func (p *testPool) swap(t testing.TB, file string) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unmount(p.mnt); err != nil {
		t.Fatal(err)
	}
	p.file = file
	p.mount(t)
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

const metadata = "architecture: x86_64\ncreation_date: 1700000000\nproperties:\n  os: test\n  release: 3.10\n"

// importImage commits a small image with a file rootfs/mark.
func importImage(t *Tree, fp string) error {
	return importAs(t, fp, func(*ImageRecord) {})
}

// changeImage gives an image an alias, with a description, and properties of the user's.
func changeImage(t *Tree, fp string) error {
	_, err := t.UpdateImage(fp, func(r *ImageRecord) error {
		r.Aliases, r.AliasDescriptions = append(r.Aliases, "mine"), map[string]string{"mine": "of mine"}
		r.Properties["os"], r.ChangedProperties = "mine", []string{"os", "gone"}
		return nil
	})
	return err
}

// importAs is importImage with a record that is changed before the commit.
func importAs(t *Tree, fp string, change func(*ImageRecord)) error {
	s, err := t.StageImage(context.Background())
	if err != nil {
		return err
	}
	if err := fillImage(s.Dir()); err != nil {
		return errors.Join(err, s.Abort())
	}
	f, err := s.Original(OriginalRootfs)
	if err != nil {
		return errors.Join(err, s.Abort())
	}
	if _, err := f.WriteString("original"); err != nil {
		return errors.Join(err, s.Abort())
	}
	if err := f.Close(); err != nil {
		return errors.Join(err, s.Abort())
	}
	rec := ImageRecord{Fingerprint: fp, Aliases: []string{"test/1"}, Architecture: "x86_64", Type: "container", Size: 7}
	change(&rec)
	if err := s.CommitImage(context.Background(), rec); err != nil {
		return errors.Join(err, s.Abort())
	}
	return s.Abort()
}

func fillImage(dir string) error {
	return errors.Join(
		os.Mkdir(dir+"/rootfs", 0o755), os.Mkdir(dir+"/templates", 0o755),
		os.WriteFile(dir+"/metadata.yaml", []byte(metadata), 0o644),
		os.WriteFile(dir+"/rootfs/mark", []byte("image"), 0o644),
	)
}

func newInstance(name string) Instance {
	return Instance{
		Name: name, Architecture: "x86_64", Config: map[string]string{"user.v": "1"}, Profiles: []string{"default"},
		Devices: map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": "p"}}, CreatedAt: time.Now().UTC(),
		Pool: &PoolInfo{Name: "p", Driver: "btrfs", Status: "Created", Config: map[string]string{}},
	}
}

func setMark(t *Tree, name, mark string) error {
	return os.WriteFile(t.InstancePath(name)+"/rootfs/mark", []byte(mark), 0o644)
}

func readMark(t *testing.T, volume string) string {
	t.Helper()
	raw, err := os.ReadFile(volume + "/rootfs/mark")
	must(t, err)
	return string(raw)
}

// nest puts a subvolume with a file, and a read-only one inside it, into a volume; there is a space in the name.
func nest(volume string) error {
	return errors.Join(
		btrfs.CreateSubvolume(volume+"/rootfs/a b"), os.WriteFile(volume+"/rootfs/a b/file", []byte("nested"), 0o644),
		btrfs.CreateSubvolume(volume+"/rootfs/a b/c"), btrfs.SetReadOnly(volume+"/rootfs/a b/c", true),
	)
}

// dump describes everything that a user can see of a pool, and what staging holds, one thing on a line.
func dump(t *testing.T, tree *Tree) string {
	t.Helper()
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	err := filepath.WalkDir(tree.mnt, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(tree.mnt, path)
		if d.IsDir() {
			sub, err := isSubvolume(path)
			if err != nil || !sub {
				if (strings.HasPrefix(rel, dirSnapshots+"/") || strings.HasPrefix(rel, dirCustomSnapshots+"/")) && strings.Count(rel, "/") == 1 || strings.HasPrefix(rel, dirOwn) {
					add("dir %s", rel)
				}
				return err
			}
			readOnly, err := btrfs.IsReadOnly(path)
			add("subvolume %s ro=%v", rel, readOnly)
			return err
		}
		if d.Name() == "mark" || d.Name() == "file" {
			raw, err := os.ReadFile(path)
			add("file %s %q", rel, raw)
			return err
		}
		if strings.HasPrefix(rel, dirOwn) && (!strings.HasPrefix(rel, dirOwn+"/"+dirTrash) || strings.Count(rel, "/") <= 3) {
			add("file %s", rel)
		}
		return nil
	})
	must(t, err)
	images, err := tree.Images()
	must(t, err)
	for _, im := range images {
		add("image %s adopted=%v damaged=%v aliases=%v", im.Fingerprint, im.Adopted, im.Damaged, im.Aliases)
	}
	records, err := tree.imageRecords()
	must(t, err)
	for _, im := range records {
		add("record of %s aliases=%v", im.Fingerprint, im.Aliases)
	}
	instances, err := tree.Instances(context.Background())
	must(t, err)
	for _, in := range instances {
		limit, err := tree.Limit(tree.InstancePath(in.Name))
		must(t, err)
		add("instance %s broken=%v v=%s pool=%v limited=%v", in.Name, in.Broken, in.Config["user.v"], in.Pool != nil, limit > 0)
		for _, s := range in.Snapshots {
			add("snapshot %s/%s v=%s dated=%v", in.Name, s.Name, s.Config["user.v"], !s.CreatedAt.IsZero())
		}
		if rec, err := tree.readRecord(tree.InstancePath(in.Name), whole); err == nil {
			for _, s := range rec.entries {
				add("recorded %s/%s v=%s", in.Name, s.Name, s.Config["user.v"])
			}
		}
	}
	volumes, err := tree.Volumes(context.Background())
	must(t, err)
	for _, v := range volumes {
		add("volume %s/%s %q broken=%v v=%s dated=%v", v.Project, v.Name, v.Description, v.Broken, v.Config["user.v"], !v.CreatedAt.IsZero())
		for _, s := range v.Snapshots {
			add("snapshot of a volume %s/%s %q expires=%v dated=%v", v.Name, s.Name, s.Description, s.ExpiresAt, !s.CreatedAt.IsZero())
		}
	}
	trashed, err := tree.Trash()
	must(t, err)
	for _, it := range trashed {
		add("trashed %s %s snapshots=%d aliases=%v broken=%v", it.Type, it.Name, it.Snapshots, it.Aliases, it.Broken)
	}
	for i, line := range lines {
		lines[i] = canName.ReplaceAllString(line, "can")
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// subvolumesOf lists the subvolumes in a volume, and which of them are read-only.
func subvolumesOf(t *testing.T, volume string) map[string]bool {
	t.Helper()
	list, err := btrfs.List(volume)
	must(t, err)
	all := map[string]bool{}
	for _, sub := range list {
		all[sub.Path] = sub.ReadOnly
	}
	return all
}

// canName is a name in the trash, which is never the same.
var canName = regexp.MustCompile(`can-\d+-\d+-[0-9a-f]+`)
