package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"poolctl/images/internal/testtree"
)

// bytesPart is a Part that holds b and, like a real one, fails in place of EOF
// with end when that is not nil.
func bytesPart(name string, b []byte, end error) *Part {
	return &Part{Name: name, Size: int64(len(b)), Open: func(context.Context) (io.ReadCloser, error) {
		if end == nil {
			return io.NopCloser(bytes.NewReader(b)), nil
		}
		return io.NopCloser(io.MultiReader(bytes.NewReader(b), failing{end})), nil
	}}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func filePart(path string) *Part {
	return &Part{Name: filepath.Base(path), Open: func(context.Context) (io.ReadCloser, error) { return os.Open(path) }}
}

func fingerprint(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// oracleImage is one image of the oracle of the local-real server.
type oracleImage struct {
	Alias       string
	Fingerprint string
	Size        int64
	Meta        struct{ Path string }
	Root        *struct{ Path string }
}

func oracle(t testing.TB) (string, []oracleImage) {
	t.Helper()
	dir := filepath.Join(testtree.Shared(t), "simplestreams", "local-real")
	b, err := os.ReadFile(filepath.Join(dir, "oracle.json"))
	if err != nil {
		t.Fatal(err)
	}
	var o struct{ Resolve []oracleImage }
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatal(err)
	}
	if len(o.Resolve) == 0 {
		t.Fatal("the oracle is empty")
	}
	return dir, o.Resolve
}

// places are directories to unpack in: the normal file system and a real btrfs.
func places(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{"normal": t.TempDir(), "btrfs": btrfsPool(t)}
}

// btrfsPool mounts a new btrfs for the length of the test.
func btrfsPool(t *testing.T) string {
	t.Helper()
	testtree.NeedRoot(t)
	dir := t.TempDir()
	img, mnt := filepath.Join(dir, "pool.img"), filepath.Join(dir, "mnt")
	run(t, "truncate", "-s", "1G", img)
	run(t, "mkfs.btrfs", "-q", img)
	run(t, "mkdir", mnt)
	run(t, "mount", "-o", "loop", img, mnt) // the loop device goes with the mount
	t.Cleanup(func() { run(t, "umount", mnt) })
	return mnt
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// volume makes what Unpack wants: an empty directory, a subvolume on btrfs.
func volume(t testing.TB, place, name string) string {
	t.Helper()
	dir := filepath.Join(place, name)
	var fs unix.Statfs_t
	if err := unix.Statfs(place, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type == unix.BTRFS_SUPER_MAGIC {
		run(t, "btrfs", "-q", "subvolume", "create", dir)
		return dir
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestUnpackRealImages(t *testing.T) {
	testtree.NeedRoot(t)
	server, list := oracle(t)
	for where, place := range places(t) {
		for i, img := range list {
			t.Run(where+"/"+img.Alias, func(t *testing.T) {
				dir := volume(t, place, fmt.Sprint(i))
				var last Progress
				req := Request{Fingerprint: img.Fingerprint, Dir: dir, Progress: func(p Progress) { last = p }}
				meta := filePart(filepath.Join(server, img.Meta.Path))
				if img.Root == nil {
					req.Unified = meta
				} else {
					req.Metadata, req.Rootfs = meta, filePart(filepath.Join(server, img.Root.Path))
				}
				res, err := Unpack(context.Background(), req)
				if err != nil {
					t.Fatal(err)
				}
				if res.Fingerprint != img.Fingerprint || res.Size != img.Size {
					t.Errorf("got %s of %d bytes, want %s of %d", res.Fingerprint, res.Size, img.Fingerprint, img.Size)
				}
				if res.Metadata.Architecture != "x86_64" || res.Metadata.Templates["/etc/hostname"] == nil {
					t.Errorf("metadata: %+v", res.Metadata)
				}
				if last.Done == 0 {
					t.Error("no progress reported")
				}
				checkContent(t, server, img, dir)
			})
		}
	}
}

// checkContent compares with what the programs of LXD make of the same files.
func checkContent(t *testing.T, server string, img oracleImage, dir string) {
	t.Helper()
	want := t.TempDir()
	meta := filepath.Join(server, img.Meta.Path)
	run(t, "tar", "-C", want, "--anchored", "--wildcards", "--exclude=dev/*", "--exclude=rootfs/dev/*",
		"--numeric-owner", "--xattrs-include=*", "-xpf", meta)
	if img.Root != nil {
		run(t, "unsquashfs", "-q", "-n", "-d", filepath.Join(want, "rootfs"), filepath.Join(server, img.Root.Path))
	}
	w := testtree.Read(t, filepath.Join(want, "rootfs"), testtree.Options{})
	g := testtree.Read(t, filepath.Join(dir, "rootfs"), testtree.Options{})
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("rootfs: want (-), got (+):\n%.4000s", diff)
	}
	skip := func(rel string) bool { return rel == "rootfs" }
	w = testtree.Read(t, want, testtree.Options{Skip: skip})
	g = testtree.Read(t, dir, testtree.Options{Skip: skip})
	delete(w, ".")
	delete(g, ".")
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("metadata: want (-), got (+):\n%.4000s", diff)
	}
}

// splitFiles are the bytes of the real split image.
func splitFiles(t testing.TB) (meta, root []byte) {
	t.Helper()
	server, list := oracle(t)
	for _, img := range list {
		if img.Root == nil {
			continue
		}
		var err [2]error
		meta, err[0] = os.ReadFile(filepath.Join(server, img.Meta.Path))
		root, err[1] = os.ReadFile(filepath.Join(server, img.Root.Path))
		if err[0] != nil || err[1] != nil {
			t.Fatal(err)
		}
		return meta, root
	}
	t.Fatal("no split image")
	return nil, nil
}

// TestUnpackDamaged: whatever is wrong with the stream, its own error comes out,
// for every kind of file, and a temporary file or process is never left.
func TestUnpackDamaged(t *testing.T) {
	testtree.NeedRoot(t)
	meta, squash := splitFiles(t)
	errHash := errors.New("sha256 differs")
	tarXZ := rootTar(t, "xz")
	for _, tc := range []struct {
		name string
		req  Request
		want string
		is   error
	}{
		{"hash of metadata", Request{Metadata: bytesPart("meta", meta, errHash), Rootfs: bytesPart("root", squash, nil)}, "cannot unpack meta", errHash},
		{"hash of squashfs", Request{Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", squash, errHash)}, "cannot unpack root", errHash},
		{"hash of tar.xz", Request{Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", tarXZ, errHash)}, "cannot unpack root", errHash},
		{"hash of tar.gz", Request{Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", rootTar(t, "gzip"), errHash)}, "cannot unpack root", errHash},
		{"hash of tar.zst", Request{Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", rootTar(t, "zstd"), errHash)}, "cannot unpack root", errHash},
		{"hash of tar", Request{Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", rootTar(t, "cat"), errHash)}, "cannot unpack root", errHash},
		{"cut squashfs", Request{Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", squash[:len(squash)/2], nil)}, "cut short", nil},
		{"cut tar.xz", Request{Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", tarXZ[:len(tarXZ)/2], nil)}, "cannot decompress xz", nil},
		{"cut gzip", Request{Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", cut(rootTar(t, "gzip")), nil)}, "unexpected EOF", nil},
		{"cut tar", Request{Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", cut(rootTar(t, "cat")), nil)}, "unexpected EOF", nil},
		{"broken in the middle", Request{Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", squash[:len(squash)/2], errHash)}, "cannot unpack root", errHash},
		{"other root", Request{Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", tarXZ, nil), Fingerprint: fingerprint(meta, squash)}, "fingerprint", nil},
		{"empty root", Request{Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", nil, nil)}, "unknown file format", nil},
		{"squashfs as metadata", Request{Metadata: bytesPart("meta", squash, nil), Rootfs: bytesPart("root", squash, nil)}, "squashfs in place of a tar", nil},
		{"metadata as root", Request{Metadata: bytesPart("meta", rootTar(t, "gzip"), nil), Rootfs: bytesPart("root", meta, nil)}, "there is no metadata.yaml", nil},
		{"no parts", Request{Metadata: bytesPart("meta", meta, nil)}, "either", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.req.Dir = t.TempDir()
			tc.req.TempDir = t.TempDir()
			_, err := Unpack(context.Background(), tc.req)
			if err == nil || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Fatalf("got %v, want ...%s...", err, tc.want)
			}
			if tc.name == "other root" {
				var fe *FingerprintError
				if !errors.As(err, &fe) || fe.Got != fingerprint(meta, tarXZ) {
					t.Fatalf("got %#v", err)
				}
			}
			checkNothingLeft(t, tc.req.TempDir)
		})
	}
}

func cut(b []byte) []byte { return b[:len(b)*2/3] }

// rootTar is a small root archive, through the given compressor.
func rootTar(t testing.TB, compressor string) []byte {
	t.Helper()
	dir := t.TempDir()
	run(t, "sh", "-c", "cd "+dir+" && mkdir -p bin etc dev && head -c 200000 /dev/urandom > bin/data && echo x > etc/hostname && mknod dev/null c 1 3")
	out, err := exec.Command("sh", "-c", "tar -C "+dir+" -c . | "+compressor).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestUnpackRootFormats unpacks the same root in every format.
func TestUnpackRootFormats(t *testing.T) {
	testtree.NeedRoot(t)
	meta, _ := splitFiles(t)
	for _, compressor := range []string{"cat", "gzip", "xz", "zstd", "bzip2", "xz --block-size=64KiB"} {
		t.Run(compressor, func(t *testing.T) {
			root := rootTar(t, compressor)
			dir := t.TempDir()
			res, err := Unpack(context.Background(), Request{
				Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", root, nil), Dir: dir,
			})
			if err != nil {
				t.Fatal(err)
			}
			if want := fingerprint(meta, root); res.Fingerprint != want {
				t.Errorf("fingerprint %s, want %s", res.Fingerprint, want)
			}
			tree := testtree.Read(t, filepath.Join(dir, "rootfs"), testtree.Options{})
			if tree["bin/data"].Size != 200000 || tree["etc/hostname"].Size != 2 {
				t.Errorf("tree: %v", tree)
			}
			if _, ok := tree["dev/null"]; ok {
				t.Error("dev/null was unpacked")
			}
		})
	}
}

// blockingPart gives its bytes and then nothing until it is closed.
func blockingPart(name string, b []byte, reached chan<- struct{}) *Part {
	return &Part{Name: name, Open: func(context.Context) (io.ReadCloser, error) {
		pr, pw := io.Pipe()
		go func() {
			_, _ = pw.Write(b)
			close(reached)
		}()
		return pr, nil
	}}
}

// TestUnpackCancel cancels in the middle of each kind of part: Unpack returns
// soon and leaves no process and no file.
func TestUnpackCancel(t *testing.T) {
	testtree.NeedRoot(t)
	meta, squash := splitFiles(t)
	for name, root := range map[string][]byte{
		"squashfs": squash, "xz": rootTar(t, "xz"), "gzip": rootTar(t, "gzip"), "zstd": rootTar(t, "zstd"), "tar": rootTar(t, "cat"),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			reached := make(chan struct{})
			req := Request{
				Metadata: bytesPart("meta", meta, nil), Rootfs: blockingPart("root", cut(root), reached),
				Dir: t.TempDir(), TempDir: t.TempDir(),
			}
			done := make(chan error)
			go func() {
				_, err := Unpack(ctx, req)
				done <- err
			}()
			<-reached
			time.Sleep(20 * time.Millisecond)
			cancel()
			select {
			case err := <-done:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("Unpack does not return")
			}
			checkNothingLeft(t, req.TempDir)
		})
	}
}

// checkNothingLeft: no file in the temporary directory, no child process.
func checkNothingLeft(t *testing.T, temp string) {
	t.Helper()
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v %v", left, err)
	}
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if b, err := os.ReadFile(task); err == nil && len(bytes.TrimSpace(b)) > 0 {
			t.Errorf("processes left: %s", b)
		}
	}
}

// aheadPart is a part whose reader can, or cannot, read ahead.
func aheadPart(name string, b []byte, can bool) *Part {
	return &Part{Name: name, Size: int64(len(b)), Open: func(context.Context) (io.ReadCloser, error) {
		return &aheadReader{bytes.NewReader(b), can}, nil
	}}
}

type aheadReader struct {
	*bytes.Reader
	can bool
}

func (a *aheadReader) Close() error { return nil }

func (a *aheadReader) ReadAt(p []byte, off int64) (int, error) {
	if !a.can {
		return 0, errors.ErrUnsupported
	}
	return a.Reader.ReadAt(p, off)
}

// TestUnpackSquashfsAhead: a squashfs whose end can be read first is unpacked as
// it comes in, and stored nowhere; else it is stored; the tree is the same.
func TestUnpackSquashfsAhead(t *testing.T) {
	testtree.NeedRoot(t)
	meta, squash := splitFiles(t)
	var trees [2]map[string]testtree.Node
	for i, can := range []bool{true, false} {
		req := Request{
			Metadata: bytesPart("meta", meta, nil), Rootfs: aheadPart("root", squash, can), Fingerprint: fingerprint(meta, squash),
			Dir: t.TempDir(), TempDir: filepath.Join(t.TempDir(), "missing"),
		}
		_, err := Unpack(context.Background(), req)
		if can != (err == nil) {
			t.Fatalf("reads ahead %v, without a temporary directory: %v", can, err)
		}
		if !can {
			req.Dir, req.TempDir = t.TempDir(), t.TempDir()
			if _, err := Unpack(context.Background(), req); err != nil {
				t.Fatal(err)
			}
		}
		trees[i] = testtree.Read(t, filepath.Join(req.Dir, "rootfs"), testtree.Options{})
	}
	if diff := cmp.Diff(trees[0], trees[1]); diff != "" || len(trees[0]) < 100 {
		t.Errorf("%d files; read ahead (-), stored (+):\n%.2000s", len(trees[0]), diff)
	}
}

// TestUnpackWrongSquashfs: when what comes is not the right file, that is said,
// and not only what is wrong with it as a squashfs.
func TestUnpackWrongSquashfs(t *testing.T) {
	testtree.NeedRoot(t)
	meta, squash := splitFiles(t)
	bad := bytes.Clone(squash)
	bad[len(bad)/3] ^= 1
	_, err := Unpack(context.Background(), Request{
		Metadata: bytesPart("meta", meta, nil), Rootfs: aheadPart("root", bad, true), Fingerprint: fingerprint(meta, squash), Dir: t.TempDir(),
	})
	var fe *FingerprintError
	if !errors.As(err, &fe) || fe.Got != fingerprint(meta, bad) {
		t.Errorf("a changed byte: %v", err)
	}
	errHash := errors.New("sha256 differs")
	_, err = Unpack(context.Background(), Request{
		Metadata: bytesPart("meta", meta, nil), Rootfs: bytesPart("root", bad, errHash), Dir: t.TempDir(),
	})
	if !errors.Is(err, errHash) {
		t.Errorf("a changed byte, and the source knows: %v", err)
	}
}
