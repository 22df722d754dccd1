package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"poolctl/pool/sendstream"
	"poolctl/pool/tree"
)

// SendOptions are the arguments of Send.
type SendOptions struct {
	Instance string
	Snapshot string // "" = the instance as it is now, with its snapshots
	// Parent is a snapshot that the receiver has: only what differs from it is sent and,
	// of an instance, the snapshots that came after it. "" = all.
	Parent       string
	InstanceOnly bool   // leave the snapshots out
	Compression  string // zstd or none; "" = zstd
	Progress     func(Progress)
}

// Send writes an instance, running or not, or a snapshot of one, as package sendstream
// describes. It can be used while that is written; a snapshot that is deleted meanwhile
// makes it fail.
func (s *System) Send(ctx context.Context, o SendOptions, w io.Writer) error {
	x, err := s.sendingInstance(o)
	if err != nil {
		return err
	}
	return s.export(ctx, x, interruptibleWriter(ctx, w))
}

// SendFile is Send to a file, which is there when it is complete: see exportFile.
func (s *System) SendFile(ctx context.Context, o SendOptions, path string, force bool) error {
	x, err := s.sendingInstance(o)
	if err != nil {
		return err
	}
	return s.exportFile(ctx, x, path, force)
}

func (s *System) sendingInstance(o SendOptions) (exporting, error) {
	if o.Compression == "" {
		o.Compression = sendstream.CompressionZstd
	}
	if o.Compression != sendstream.CompressionZstd && o.Compression != sendstream.CompressionNone {
		return exporting{}, withHint(fmt.Errorf("cannot send with compression %q", o.Compression), "zstd or none")
	}
	var head sendstream.Header
	return exporting{
		o: BackupOptions{Optimized: true, Compression: o.Compression, Progress: o.Progress},
		open: func(ctx context.Context, _ BackupOptions) (b *backupSource, err error) {
			b, head, err = s.openSend(ctx, o)
			return b, err
		},
		write: func(ctx context.Context, b *backupSource, w io.Writer) error {
			return writeSend(ctx, b, head, o.Progress, w)
		},
	}, nil
}

// openSend freezes what is sent, and says what it is.
func (s *System) openSend(ctx context.Context, o SendOptions) (_ *backupSource, head sendstream.Header, err error) {
	in, err := s.lockInstance(ctx, o.Instance)
	if err != nil {
		return nil, head, err
	}
	from := tree.Source{Name: o.Instance, Snapshot: o.Snapshot}
	b := &backupSource{p: in.openedPool, what: from.Ref(), close: in.close}
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot send %s: %w", from.Ref(), errors.Join(err, b.close()))
		}
	}()
	rec, err := in.copySource(from)
	if err != nil {
		return nil, head, err
	}
	names, err := sentSnapshots(in.rec, o)
	if err != nil {
		return nil, head, err
	}
	still := func(do func() error) error { return s.still(ctx, in, do) }
	if o.Snapshot != "" {
		still = nil
	}
	if b.frozen, err = in.FreezeInstance(ctx, from, names, still); err != nil {
		return nil, head, err
	}
	b.close = func() error { return errors.Join(b.frozen.Close(), in.close()) }
	b.frozen.Versions[0].Have = o.Parent != ""
	entries, err := in.SnapshotEntries(o.Instance)
	if err != nil {
		return nil, head, err
	}
	raw, err := b.frozen.Record(o.Instance, entries)
	if err != nil {
		return nil, head, err
	}
	need, err := transferNeed(ctx, b.frozen, from)
	if err != nil {
		return nil, head, err
	}
	b.size, b.index.Name = max(need.least, 1), o.Instance
	head = sendHeader(b.frozen, rec, in.rec.Snapshots, o)
	head.Pool, head.Record = in.openedPool.rec.Name, string(raw)
	head.Size, head.DataSize, head.TreeSize = need.least, need.most, need.trees
	// The instance is free again; its pool is kept.
	in.unlock()
	in.unlock = func() {}
	return b, head, nil
}

// sentSnapshots names the snapshots that are sent, the parent first.
func sentSnapshots(in tree.Instance, o SendOptions) ([]string, error) {
	names := instanceSnapshotNames(in)
	at := slices.Index(names, o.Parent)
	switch {
	case o.Parent != "" && at < 0:
		return nil, snapshotMissing(o.Instance, o.Parent)
	case o.Parent != "" && o.Parent == o.Snapshot:
		return nil, fmt.Errorf("%s is its own parent", o.Parent)
	}
	var out []string
	if o.Parent != "" {
		out = append(out, o.Parent)
	}
	if o.Snapshot != "" {
		return append(out, o.Snapshot), nil
	}
	if o.InstanceOnly {
		return out, nil
	}
	return append(out, names[at+1:]...), nil
}

func snapshotMissing(instance, snap string) error {
	return withHint(fmt.Errorf("snapshot %q: %w", snap, ErrNotFound), "poolctl snapshot list %s shows its snapshots", instance)
}

// sendHeader says what is frozen.
func sendHeader(frozen *tree.Frozen, rec tree.Instance, snaps []tree.Snapshot, o SendOptions) sendstream.Header {
	h := sendstream.Header{
		Type: sendstream.TypeInstance, Name: o.Instance, Snapshot: o.Snapshot, UUID: rec.Config["volatile.uuid"], Date: time.Now().UTC(),
		Architecture: rec.Architecture, Compression: o.Compression,
	}
	if o.Snapshot != "" {
		h.Type = sendstream.TypeSnapshot
	}
	for _, v := range frozen.Versions {
		out := sendstream.Version{Snapshot: v.Snapshot}
		if i := slices.IndexFunc(snaps, func(sn tree.Snapshot) bool { return sn.Name == v.Snapshot }); i >= 0 {
			out.CreatedAt = snaps[i].CreatedAt
		}
		for _, m := range v.Members {
			out.Subvolumes = append(out.Subvolumes, sendstream.Subvolume{Path: m.Path, ReadOnly: m.ReadOnly, UUID: m.StreamUUID})
		}
		if v.Have {
			h.Parent = &out
		} else {
			h.Versions = append(h.Versions, out)
		}
	}
	return h
}

func writeSend(ctx context.Context, b *backupSource, head sendstream.Header, progress func(Progress), to io.Writer) error {
	w, err := sendstream.NewWriter(ctx, to, head)
	if err != nil {
		return err
	}
	count := &counter{name: head.Name, report: progress}
	count.expect(streamNeed(head))
	for _, m := range b.frozen.Members() {
		if err == nil {
			err = w.Stream(func(out io.Writer) error { return b.frozen.Send(ctx, m, io.MultiWriter(out, count)) })
		}
	}
	if cerr := w.Close(); err == nil { // the first error is the cause of this one
		err = cerr
	}
	if err == nil {
		count.end()
	}
	return err
}
