package pool

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"poolctl/images/compress"
	"poolctl/images/tarball"
	"poolctl/pool/backup"
	"poolctl/pool/sendstream"
	"poolctl/pool/tree"
)

// importLimits bound what a backup may ask for: as much as a pool can hold. The
// pool's room, and the size of what is made, are the limits of its content.
var importLimits = tarball.Limits{Entries: 1 << 40, Bytes: 1 << 60, PathLen: 64 << 10, Depth: 4096}

// backupTarget is what a backup becomes: a custom volume, or an instance.
type backupTarget interface {
	// begin checks the index, locks the name, asks for the room that is needed, and
	// stages what is made.
	begin(ctx context.Context, in backup.Index, need *spaceNeed) (importStage, error)
	// commit makes it of what was staged; whole is the index, whose files are all there.
	commit(ctx context.Context) error
	// close gives up what was staged, unless it was committed, and what is held.
	close() error
}

// importStage is where an import writes, in a pool.
type importStage struct {
	p     *openedPool
	stage *tree.OwnerStage
}

// backupImport is an import on its way.
type backupImport struct {
	s      *System
	target backupTarget
	need   *spaceNeed // nil when the size is not known
	index  *backup.Index
	layout backup.Layout
	importStage
	watch *spaceWatch
	// files are the streams that there may be, by their name; received those that came.
	files    map[string]tree.Member
	received map[string]bool
	budget   *tarball.Budget
	trees    map[string]*unpacking // by snapshot
}

// unpacking is one state that is being written.
type unpacking struct {
	root *os.File
	*tarball.Extractor
}

// importBackup makes target of a backup of ours, of LXD's or of Incus's. It is read
// as a stream, and unpacked aside: what is made is there when it is complete. name is what
// it is to be called, "" as the backup says.
func (s *System) importBackup(ctx context.Context, r io.Reader, target backupTarget, name string, progress func(Progress)) (err error) {
	defer func() { err = errors.Join(err, target.close()) }()
	im := &backupImport{s: s, target: target, budget: tarball.NewBudget(importLimits), trees: map[string]*unpacking{}, received: map[string]bool{}}
	need, known, err := backupNeed(r)
	if err != nil {
		return err
	} else if known {
		im.need = &need
	}
	r = interruptibleReader(ctx, r)
	if progress != nil {
		if name == "" {
			name = "import" // what is in it is not known yet
		}
		r = io.TeeReader(r, &counter{name: name, total: need.least, report: progress})
	}
	err = im.run(ctx, r)
	if im.watch != nil {
		im.watch.stop()
		err = im.watch.cause(err)
	}
	if err = errors.Join(err, im.end()); err != nil && im.p != nil {
		err = s.hintFull(im.p.rec, err)
	}
	if isFull(err) && im.p != nil {
		err = errors.Join(err, target.close(), s.awaitFreed(im.p.rec))
	}
	return err
}

func (im *backupImport) run(ctx context.Context, r io.Reader) (err error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	head, err := buffered.Peek(compress.HeadSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if sendstream.Is(head) {
		return withHint(errors.New("it is what poolctl send writes, not a backup"), "poolctl receive reads it")
	}
	format := compress.Detect(head)
	switch {
	case len(head) == 0:
		return errors.New("it is empty")
	case format == compress.Unknown:
		return notABackup(errors.New("it is no backup: it is no tar archive (plain, gzip, xz, zstd, bzip2, lz4, lzma)"))
	case format == compress.Squashfs:
		return errors.New("it is a squashfs, not a backup")
	}
	z, err := compress.NewReader(ctx, format, buffered)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, z.Close()) }()
	archive := tarball.NewReader(z)
	if err := im.read(ctx, archive); err != nil {
		return err
	}
	if im.index == nil {
		return notABackup(fmt.Errorf("it is no backup: it has no %s", backup.IndexFile))
	}
	if err := archive.ReadEnd(im.watch.ctx); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, buffered); err != nil || n > 0 {
		return errors.Join(errors.New("something follows the end of the compressed archive"), err)
	}
	if err := im.assemble(im.watch.ctx); err != nil {
		return err
	}
	if err := im.stage.Sync(); err != nil { // before the commit: a power cut leaves no holes in its files
		return err
	}
	return im.target.commit(im.watch.ctx)
}

// notABackup hints at what makes one.
func notABackup(err error) error {
	return withHint(err, "poolctl export and poolctl pool volume export make one; images are imported by poolctl image import")
}

// end gives up the open directories.
func (im *backupImport) end() error {
	var errs []error
	for _, t := range im.trees {
		t.Close()
		errs = append(errs, t.root.Close())
	}
	return errors.Join(errs...)
}

// read takes the entries of the archive.
func (im *backupImport) read(ctx context.Context, archive *tarball.Reader) error {
	for {
		if im.watch != nil {
			ctx = im.watch.ctx
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		hdr, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := im.budget.Entry(); err != nil {
			return err
		}
		name := hdr.Name
		if _, stream := im.files[name]; !stream { // the path of a subvolume may be longer than the name of a file
			name, err = tarball.CleanName(name, importLimits)
		}
		if err != nil {
			return fmt.Errorf("cannot unpack %.256q: %w", hdr.Name, err)
		}
		if hdr.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := im.entry(ctx, hdr, name, archive); err != nil {
			return err
		}
	}
}

// entry takes one entry. The index comes before all that it is about.
func (im *backupImport) entry(ctx context.Context, hdr *tar.Header, name string, r io.Reader) error {
	switch {
	case name == backup.IndexFile:
		return im.begin(ctx, r)
	case im.index == nil && name == "backup":
		return nil
	case im.index == nil:
		return notABackup(fmt.Errorf("it is no backup: %q comes before %s", hdr.Name, backup.IndexFile))
	case im.layout.Above(name):
		return nil
	case name == backup.HeaderFile:
		return im.header(r)
	}
	if m, known := im.files[name]; known && (im.index.Optimized || im.index.Legacy && len(im.trees) == 0) {
		return im.receive(ctx, name, m, r)
	}
	snapshot, rel, ok := im.layout.Split(name)
	if !ok || im.index.Optimized || snapshot != "" && !slices.Contains(im.index.Snapshots, snapshot) {
		return fmt.Errorf("%.256q is not what the backup says that it holds", hdr.Name)
	}
	return im.extract(hdr, snapshot, rel, r)
}

// extract writes an entry into one state.
func (im *backupImport) extract(hdr *tar.Header, snapshot, rel string, r io.Reader) error {
	t, err := im.tree(snapshot)
	if err != nil {
		return err
	}
	link := ""
	if hdr.Typeflag == tar.TypeLink {
		target, err := tarball.CleanName(hdr.Linkname, importLimits)
		if err != nil {
			return fmt.Errorf("%.256q is a hard link to %.256q: %w", hdr.Name, hdr.Linkname, err)
		}
		of, to, ok := im.layout.Split(target)
		if !ok || of != snapshot || to == "." {
			return fmt.Errorf("%.256q is a hard link to %.256q, which is outside its tree", hdr.Name, hdr.Linkname)
		}
		link = to
	}
	return t.Add(hdr, rel, link, r)
}

// receive makes a subvolume of a stream.
func (im *backupImport) receive(ctx context.Context, name string, m tree.Member, r io.Reader) error {
	if im.received[name] {
		return fmt.Errorf("%q is in it twice", name)
	}
	im.index.Optimized, im.received[name] = true, true
	if err := checkOptimized(*im.index); err != nil {
		return err
	}
	return im.stage.Receive(ctx, m, passReader{im.watch, r})
}

// passReader has everything pass a watch that is read through it.
type passReader struct {
	watch *spaceWatch
	r     io.Reader
}

func (p passReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if perr := p.watch.pass(n); perr != nil {
		return 0, perr
	}
	return n, err
}

// begin reads the index and begins what is made.
func (im *backupImport) begin(ctx context.Context, r io.Reader) error {
	if im.index != nil {
		return errors.New("it has two indexes")
	}
	raw, err := backup.Read(r)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", backup.IndexFile, err)
	}
	in, err := backup.ParseIndex(raw)
	if err == nil && in.Optimized {
		err = checkOptimized(in)
	}
	if err == nil {
		err = checkSnapshotNames(in.Snapshots)
	}
	if err != nil {
		return err
	}
	if im.importStage, err = im.target.begin(ctx, in, im.need); err != nil {
		return err
	}
	im.index = &in
	im.layout, _ = in.Layout()
	im.watch = im.s.watchSpace(ctx, im.p.rec, "the backup")
	im.files = map[string]tree.Member{}
	for _, snapshot := range append(slices.Clone(in.Snapshots), "") { // a backup without a header has no nested ones
		im.expect(backup.Subvolume{Path: "/", Snapshot: snapshot, ReadOnly: snapshot != ""})
	}
	return nil
}

// checkOptimized refuses streams of other file systems.
func checkOptimized(in backup.Index) error {
	if in.Backend == "btrfs" {
		return nil
	}
	return withHint(fmt.Errorf("it holds optimized data of a pool of type %q", in.Backend), "only a backup made without --optimized-storage can be imported in a btrfs pool")
}

func checkSnapshotNames(names []string) error {
	seen := map[string]bool{}
	for _, snapshot := range names {
		if err := tree.ValidateSnapshotName(snapshot); err != nil {
			return fmt.Errorf("snapshot %.256q: %w", snapshot, err)
		}
		if seen[snapshot] {
			return fmt.Errorf("its index lists the snapshot %q twice", snapshot)
		}
		seen[snapshot] = true
	}
	return nil
}

// header reads which streams there are.
func (im *backupImport) header(r io.Reader) error {
	raw, err := backup.Read(r)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", backup.HeaderFile, err)
	}
	h, err := backup.ParseHeader(raw)
	if err != nil {
		return err
	}
	for _, sub := range h.Subvolumes {
		if sub.Path == "" {
			sub.Path = "/"
		}
		if sub.Snapshot != "" && !slices.Contains(im.index.Snapshots, sub.Snapshot) {
			return fmt.Errorf("it has a subvolume of the snapshot %q, which is not in its index", sub.Snapshot)
		}
		im.expect(sub)
	}
	return nil
}

func (im *backupImport) expect(sub backup.Subvolume) {
	im.files[im.layout.File(sub)] = tree.Member{Snapshot: sub.Snapshot, Path: sub.Path, ReadOnly: sub.ReadOnly, UUID: sub.UUID}
}

// tree is the state that an entry goes to, made when its first entry comes.
func (im *backupImport) tree(snapshot string) (*unpacking, error) {
	if t, ok := im.trees[snapshot]; ok {
		return t, nil
	}
	root, err := im.stage.Root(snapshot)
	if err != nil {
		return nil, err
	}
	t := &unpacking{root, tarball.New(root, tarball.Policy{Pass: im.watch.pass}, im.budget)}
	im.trees[snapshot] = t
	return t, nil
}

// assemble completes what was written, and refuses a backup that lacks what its
// index lists.
func (im *backupImport) assemble(ctx context.Context) error {
	if im.index.Optimized {
		for _, name := range sortedKeys(im.files) {
			if !im.received[name] {
				return fmt.Errorf("the backup does not hold %s, which it lists", name)
			}
		}
		return im.stage.Assemble(ctx)
	}
	return im.finishTrees()
}

// finishTrees is assemble for files.
func (im *backupImport) finishTrees() error {
	for _, snapshot := range append(slices.Clone(im.index.Snapshots), "") {
		if im.trees[snapshot] == nil && snapshot == "" {
			return errors.New("the backup does not hold the volume itself")
		} else if im.trees[snapshot] == nil {
			return fmt.Errorf("the backup does not hold the snapshot %q that its index lists", snapshot)
		}
	}
	leftOut := 0
	for snapshot, t := range im.trees {
		if err := t.Finish(); err != nil {
			return err
		}
		leftOut += t.LeftOut
		if snapshot != "" {
			if err := im.stage.SealSnapshot(snapshot); err != nil {
				return err
			}
		}
	}
	if leftOut > 0 {
		im.s.noticef("%d device nodes that reach hardware were left out", leftOut)
	}
	return nil
}
