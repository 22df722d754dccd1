package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"poolctl/btrfs"
	"poolctl/images"
	"poolctl/pool/tree"
	"poolctl/remotes"
)

// PullImage brings an image of a remote, REMOTE:IMAGE, into a pool. One that is
// there already only gets the aliases. Two pulls of the same image download it
// once: the second waits for the first.
func (s *System) PullImage(ctx context.Context, ref string, o PullOptions) (Image, error) {
	c, r, name, err := s.pullSource(ref, o)
	if err != nil {
		return Image{}, err
	}
	p, err := s.openTarget(ctx, o.Pool)
	if err != nil {
		return Image{}, err
	}
	defer func() { _ = p.close() }()
	src, err := sourceOf(r, name)
	if err != nil {
		return Image{}, fmt.Errorf("cannot pull %s: %w", ref, err)
	}
	var rec tree.ImageRecord
	err = findFresh(ctx, c, name, remotes.Want{Arch: o.Arch, Type: o.Type}, func(want remotes.Image) (err error) {
		rec, err = s.ensureImage(ctx, p, c, want, src, o)
		if err != nil {
			err = fmt.Errorf("cannot pull %s: %w", ref, err)
		}
		return err
	})
	return publicImage(rec, p.rec.Name), err
}

// pullSource reads the reference of an image to pull, and checks the aliases
// that it is to get.
func (s *System) pullSource(ref string, o PullOptions) (c *remotes.Client, r remotes.Remote, name string, err error) {
	remote, name, err := s.splitRef(ref)
	if err != nil {
		return nil, r, "", err
	}
	if remote == localRemote {
		return nil, r, "", withHint(fmt.Errorf("cannot pull %q: no remote named", ref), "write REMOTE:IMAGE, for example images:alpine/3.20")
	}
	for _, a := range o.Aliases {
		if err := tree.ValidateAlias(a); err != nil {
			return nil, r, "", fmt.Errorf("cannot pull %s: %w", ref, err)
		}
	}
	for _, p := range o.Profiles {
		if _, err := s.profile(p); err != nil {
			return nil, r, "", fmt.Errorf("cannot pull %s: %w", ref, err)
		}
	}
	c, r, err = s.client(remote)
	return c, r, name, err
}

// openTarget opens the pool that something is to be put into; "" is the default one.
func (s *System) openTarget(ctx context.Context, name string) (*openedPool, error) {
	pool, err := s.poolOrDefault(name)
	if err != nil {
		return nil, err
	}
	return s.openPool(ctx, pool)
}

// findFresh finds an image and does something with it. When a file of it is not
// on the server, the catalogue that named it may be older than the server: it
// is then asked for anew, and another image of that name tried.
func findFresh(ctx context.Context, c *remotes.Client, name string, w remotes.Want, do func(remotes.Image) error) error {
	want, err := c.Find(ctx, name, w)
	if err != nil {
		return err
	}
	err = do(want)
	status, ok := errors.AsType[*remotes.StatusError](err)
	if !ok || status.Code != http.StatusNotFound {
		return err
	}
	if c.Refresh(ctx) != nil {
		return err
	}
	again, ferr := c.Find(ctx, name, w)
	if ferr != nil || again.Fingerprint == want.Fingerprint {
		return err
	}
	return do(again)
}

// ensureImage makes sure that the image is in the pool, kept, with the aliases.
func (s *System) ensureImage(ctx context.Context, p *openedPool, c *remotes.Client, want remotes.Image, src tree.ImageSource, o PullOptions) (tree.ImageRecord, error) {
	unlock, err := s.lockImage(ctx, want.Fingerprint)
	if err != nil {
		return tree.ImageRecord{}, err
	}
	defer unlock()
	if o.CopyAliases {
		o.Aliases = withRemoteAliases(o.Aliases, want)
	}
	if o.AutoUpdate && isFingerprintPrefix(src.Alias) && strings.HasPrefix(want.Fingerprint, src.Alias) {
		return tree.ImageRecord{}, withHint(errors.New("what is named by its fingerprint has no later versions"), "name it by an alias, or leave --auto-update out")
	}
	if err := checkAliases(p.Tree, want.Fingerprint, o.Aliases); err != nil {
		return tree.ImageRecord{}, err
	}
	rec, err := p.Image(want.Fingerprint)
	if errors.Is(err, fs.ErrNotExist) {
		return s.download(ctx, p, c, want, src, o, false)
	}
	if err != nil {
		return rec, err
	}
	unlockAliases, err := s.lockFreeAliases(ctx, p, want.Fingerprint, o.Aliases)
	if err != nil {
		return rec, err
	}
	defer unlockAliases()
	return p.UpdateImage(want.Fingerprint, func(r *tree.ImageRecord) error {
		was := *r
		kept := r.PulledAgain(src, o.AutoUpdate)
		s.tellOrigin(was, *r, src, kept)
		r.Public = r.Public || o.Public
		if o.Profiles != nil {
			r.Profiles = o.Profiles
		}
		for _, a := range o.Aliases {
			if !slices.Contains(r.Aliases, a) {
				r.Aliases = append(r.Aliases, a)
			}
		}
		return nil
	})
}

// tellOrigin says what a pull of an image that is there already has not changed of where it comes from, or has.
func (s *System) tellOrigin(was, now tree.ImageRecord, src tree.ImageSource, kept bool) {
	switch {
	case kept:
		s.noticef("image %s goes on following %s: %s; %s is not as safe", now.Fingerprint[:12], sourceName(now.Source), safety(now.Source), sourceName(&src))
	case was.AutoUpdate && !was.Cached && !now.AutoUpdate:
		s.noticef("image %s is not kept up to date any more: it followed %s, and now comes from %s; --auto-update changes that",
			now.Fingerprint[:12], sourceName(was.Source), sourceName(now.Source))
	}
}

// withRemoteAliases adds the aliases that a remote shows of an image.
func withRemoteAliases(aliases []string, want remotes.Image) []string {
	aliases = slices.Clone(aliases)
	for _, a := range want.Aliases {
		if a.Display && !slices.Contains(aliases, a.Name) {
			aliases = append(aliases, a.Name)
		}
	}
	return aliases
}

// lockFreeAliases takes the lock of a pool's aliases, with the aliases still free
// for the image: another command may have given them away meanwhile.
func (s *System) lockFreeAliases(ctx context.Context, p *openedPool, fingerprint string, aliases []string) (unlock func(), err error) {
	if len(aliases) == 0 {
		return func() {}, nil
	}
	unlock, err = s.dir.LockAliases(ctx, p.rec.Name)
	if err != nil {
		return nil, err
	}
	if err := checkAliases(p.Tree, fingerprint, aliases); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// checkAliases refuses an alias that names another image.
func checkAliases(t *tree.Tree, fingerprint string, aliases []string) error {
	if len(aliases) == 0 {
		return nil
	}
	all, err := t.Images()
	if err != nil {
		return err
	}
	for _, im := range all {
		for _, a := range im.Aliases {
			if slices.Contains(aliases, a) && im.Fingerprint != fingerprint {
				return withHint(fmt.Errorf("alias %s: %w, for image %s", a, ErrExists, im.Fingerprint[:12]), "choose another --alias, or delete that image first")
			}
		}
	}
	return nil
}

// download is downloadOnce, begun anew for as long as what arrives is not the
// image and there is a mirror that may have the real one.
func (s *System) download(ctx context.Context, p *openedPool, c *remotes.Client, want remotes.Image, src tree.ImageSource, o PullOptions, cached bool) (rec tree.ImageRecord, err error) {
	if err := remotes.ExpireKept(s.dir.Downloads()); err != nil {
		s.notice(err.Error())
	}
	for keep := s.canKeep(ctx, p.rec, want); ; {
		rec, err = s.downloadOnce(ctx, p, c, want, src, o, cached, keep)
		_, unkept := errors.AsType[*remotes.KeepError](err)
		switch {
		case err == nil || ctx.Err() != nil:
			return rec, err
		case unkept && keep:
			keep = false
			s.noticef("the download begins anew: %v", err)
		case c.CanRetry(err):
			s.noticef("trying again: %v", err)
		default:
			return rec, err
		}
	}
}

// downloadOnce pulls the image's files through the unpacker into a staging
// subvolume and commits it. The caller holds the image's lock.
func (s *System) downloadOnce(ctx context.Context, p *openedPool, c *remotes.Client, want remotes.Image, src tree.ImageSource, o PullOptions, cached, keep bool) (rec tree.ImageRecord, err error) {
	need := imageNeed(want)
	need.size = o.size
	kept := keptOriginals(p.rec.Config, want)
	for _, f := range kept {
		need.least, need.most = need.least+f.Size, need.most+f.Size
	}
	space, err := s.reserveSpace(ctx, p.rec, need, want.Size, keep)
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, space.release()) }()
	stage, err := p.StageImage(ctx)
	if err != nil {
		return rec, err
	}
	watch := s.watchSpace(ctx, p.rec, "image "+want.Fingerprint[:12])
	defer func() {
		watch.stop()
		if err = watch.cause(err); err != nil {
			full := isFull(err)
			if err = errors.Join(s.nameFull(p.rec, err), stage.Abort()); full {
				err = errors.Join(err, s.awaitFreed(p.rec))
			}
		}
	}()
	files := s.fetch(ctx, c, want, keep, o.Progress)
	files.loaded = space.loaded
	defer func() { files.end(err) }()
	req, err := files.request(want, stage)
	if err != nil {
		return rec, err
	}
	req.Base = baseChooser(p.Tree, likeness{source: &src, arch: want.Arch, properties: want.Properties})
	_, keepRoot := kept[tree.OriginalRootfs]
	if root, made := s.rootFromDelta(ctx, p.Tree, files, want, stage, keepRoot); root != nil {
		defer func() { _ = made.Close() }() // it was synced with the image
		req.Rootfs = root
		files.leave(remotes.RoleRootfs)
		delete(kept, tree.OriginalRootfs)
	}
	s.keepOriginals(&req, stage, kept)
	req.Pass = watch.pass
	req.Progress = syncNearEnd(stage)
	res, err := images.Unpack(watch.ctx, req)
	if err != nil {
		return rec, err
	}
	s.tellLeftOut(res)
	now := time.Now().UTC()
	rec = tree.ImageRecord{
		Fingerprint: want.Fingerprint, AltFingerprints: want.AltFingerprints, Aliases: o.Aliases, Properties: want.Properties,
		Architecture: want.Arch, Type: want.Type, Size: res.Size, VirtualSize: res.VirtualSize, CreatedAt: want.CreatedAt, ExpiresAt: want.ExpiresAt,
		UploadedAt: now, Source: &src, Cached: cached, AutoUpdate: o.AutoUpdate, Public: o.Public, Profiles: o.Profiles,
	}
	if cached {
		rec.LastUsedAt, rec.AutoUpdate = now, updatesCached(p.rec)
	}
	if o.successorOf != nil {
		rec.Cached = true // unless the old one is kept
		rec.TakeOver(*o.successorOf)
	}
	if err := ctx.Err(); err != nil {
		return rec, err
	}
	unlockAliases, err := s.lockFreeAliases(ctx, p, want.Fingerprint, o.Aliases)
	if err != nil {
		return rec, err
	}
	defer unlockAliases()
	return rec, stage.CommitImage(ctx, rec)
}

// syncNearEnd begins to commit what is unpacked, tables of the file system and all, when
// little of the root has still to come: the sync at the end then has only the rest to wait for.
func syncNearEnd(stage *tree.Stage) func(images.Progress) {
	begun := false
	return func(p images.Progress) {
		if begun || p.Total < 16<<20 || p.Done < p.Total/10*9 {
			return
		}
		begun = true
		_ = btrfs.StartSync(stage.Dir()) // the sync at the end does it all
	}
}
