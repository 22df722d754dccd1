package pool

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sort"
	"time"

	petname "github.com/dustinkirkland/golang-petname"

	"poolctl/pool/state"
	"poolctl/pool/tree"
	"poolctl/remotes"
)

// Create makes an instance from an image, [REMOTE:]IMAGE, and returns its name.
// An image that is not in the pool is pulled first. The instance is a snapshot
// of the image's subvolume: it is made at once, whatever the image's size. With a
// template there is no image: see createOfTemplate.
func (s *System) Create(ctx context.Context, o CreateOptions) (name string, err error) {
	if err := checkNew(o.Name, o.Config); err != nil {
		return "", err
	}
	pool, err := s.poolForImage(ctx, o)
	if err != nil {
		return "", err
	}
	p, err := s.openPool(ctx, pool)
	if err != nil {
		return "", err
	}
	var image tree.ImageRecord
	defer func() {
		if err = errors.Join(err, p.close()); err == nil && image.Cached {
			s.expireAfterCaching(ctx, p.rec)
		}
	}()
	if o.Name, err = s.freeName(ctx, o.Name); err != nil {
		return "", err
	}
	unlock, err := s.dir.LockInstance(ctx, o.Name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := s.freeName(ctx, o.Name); err != nil { // another process may have made it while we waited
		return "", err
	}
	if o.Template != "" {
		return o.Name, s.createOfTemplate(ctx, p, o)
	}
	image, unlockImage, err := s.imageFor(ctx, p, o)
	if err != nil {
		return "", fmt.Errorf("cannot create instance %s: %w", o.Name, err)
	}
	defer unlockImage()
	profiles := o.Profiles
	if profiles == nil {
		profiles = s.imageProfiles(image)
	}
	unlockProfiles, err := s.dir.LockProfiles(ctx, true)
	if err != nil {
		return "", err
	}
	defer unlockProfiles()
	rec, err := s.newRecord(ctx, o, p.rec, profiles, image)
	if err != nil {
		return "", fmt.Errorf("cannot create instance %s: %w", o.Name, err)
	}
	if rec.Limit, err = s.limitOf(ctx, p, rec); err != nil {
		return "", fmt.Errorf("cannot create instance %s: %w", o.Name, err)
	}
	if err := s.needSpace(ctx, p.rec, sharingNeed("an instance")); err != nil {
		return "", fmt.Errorf("cannot create instance %s: %w", o.Name, err)
	}
	if err := p.CreateInstance(ctx, rec, image.Fingerprint); err != nil {
		return "", s.hintFull(p.rec, createError(err, o.Name, image, rec.Limit))
	}
	return o.Name, nil
}

// imageProfiles are the profiles of an instance for which none are named: those
// of its image, as far as they are here, or the default one.
func (s *System) imageProfiles(image tree.ImageRecord) []string {
	if image.Profiles == nil {
		return []string{defaultProfile}
	}
	out := []string{}
	for _, name := range image.Profiles {
		if _, err := s.profile(name); err != nil { // the pool comes from another machine
			s.noticef("profile %s of image %s is left out: %s", name, image.Fingerprint[:12], err)
			continue
		}
		out = append(out, name)
	}
	return out
}

// createError names what an image is too large for.
func createError(err error, name string, image tree.ImageRecord, size int64) error {
	if over, ok := errors.AsType[*tree.OverLimitError](err); ok {
		return withHint(fmt.Errorf("cannot create instance %s: its size is %s, and image %s takes %s", name, FormatSize(size), image.Fingerprint[:12], FormatSize(over.Used)), "give it a larger size: --device root,size=...")
	}
	return err
}

// checkNew checks what a user says of a new instance: its name, unless it is
// "", and its configuration.
func checkNew(name string, config map[string]string) error {
	if name != "" {
		if err := tree.ValidateInstanceName(name); err != nil {
			return fmt.Errorf("cannot create instance %q: %w", name, err)
		}
	}
	if err := checkInstanceConfig(config); err != nil {
		what := "instance " + name
		if name == "" {
			what = "an instance"
		}
		return fmt.Errorf("cannot create %s: %w", what, err)
	}
	return nil
}

// freeName refuses a name that is taken in any pool, and invents one for "".
func (s *System) freeName(ctx context.Context, name string) (string, error) {
	for range 100 {
		try := name
		if name == "" {
			try = petname.Generate(2, "-")
		}
		p, _, err := s.findInstance(ctx, try)
		if errors.Is(err, ErrNotFound) {
			return try, nil
		}
		if err != nil {
			return "", err
		}
		if err := p.close(); err != nil {
			return "", err
		}
		if name != "" {
			return "", fmt.Errorf("cannot create instance %s: %w", name, ErrExists)
		}
	}
	return "", errors.New("cannot create instance: no free name found")
}

// imageFor finds the image to make the instance of in the pool, pulling it when
// a remote has it, and holds its lock so that nobody deletes it meanwhile.
func (s *System) imageFor(ctx context.Context, p *openedPool, o CreateOptions) (rec tree.ImageRecord, unlock func(), err error) {
	remote, name, err := s.splitRef(o.Image)
	if err != nil {
		return rec, nil, err
	}
	if remote == localRemote {
		return s.localImage(ctx, p, name, o)
	}
	c, r, err := s.client(remote)
	if err != nil {
		return rec, nil, err
	}
	src, err := sourceOf(r, name)
	if err != nil {
		return rec, nil, err
	}
	err = findFresh(ctx, c, name, remotes.Want{}, func(want remotes.Image) (err error) {
		rec, unlock, err = s.cachedImage(ctx, p, c, want, src, o)
		return err
	})
	return rec, unlock, err
}

// cachedImage is the pool's copy of a remote's image, downloaded if need be,
// with its lock held.
func (s *System) cachedImage(ctx context.Context, p *openedPool, c *remotes.Client, want remotes.Image, src tree.ImageSource, o CreateOptions) (rec tree.ImageRecord, unlock func(), err error) {
	if err := checkContainer(want.Type, want.Fingerprint); err != nil { // before it is downloaded
		return rec, nil, err
	}
	if _, err := checkArch(ctx, want.Arch); err != nil { // before it is downloaded
		return rec, nil, err
	}
	if err := s.checkImageRequirements(want.Properties, o); err != nil { // before it is downloaded
		return rec, nil, err
	}
	unlock, err = s.dir.LockImage(ctx, want.Fingerprint)
	if err != nil {
		return rec, nil, err
	}
	rec, err = p.Image(want.Fingerprint)
	if errors.Is(err, fs.ErrNotExist) {
		rec, err = s.download(ctx, p, c, want, src, PullOptions{Progress: o.Progress, size: s.sizeOfNew(ctx, o, p.rec)}, true)
	} else if err == nil {
		rec, err = touchImage(p, rec)
	}
	if err != nil {
		unlock()
		return rec, nil, err
	}
	return rec, unlock, nil
}

// defaultImage is the alias that no name stands for, as in lxc and incus.
const defaultImage = "default"

// localImage finds an image by alias or fingerprint prefix. One that only
// another pool has is fetched from where that one came from.
func (s *System) localImage(ctx context.Context, p *openedPool, ref string, o CreateOptions) (rec tree.ImageRecord, unlock func(), err error) {
	if ref == "" {
		ref = defaultImage
	}
	rec, unlock, err = s.lockedImage(ctx, p, ref, o)
	if err == nil {
		return rec, unlock, nil
	}
	elsewhere, ferr := s.Image(ctx, ref)
	if !errors.Is(err, ErrNotFound) || ferr != nil || elsewhere.UpdateSource == nil {
		return rec, nil, err
	}
	c, err := s.sourceClient(*elsewhere.UpdateSource)
	if err != nil {
		return rec, nil, err
	}
	want, err := c.Find(ctx, elsewhere.Fingerprint, remotes.Want{})
	if err != nil {
		return rec, nil, err
	}
	return s.cachedImage(ctx, p, c, want, tree.ImageSource(*elsewhere.UpdateSource), o)
}

// sizeOfNew is the size that a new instance is going to have; 0 for none. It is
// for what is refused before an image is downloaded: what is wrong with the
// options is told when the instance is made.
func (s *System) sizeOfNew(ctx context.Context, o CreateOptions, pool state.PoolRecord) int64 {
	profiles := o.Profiles
	if profiles == nil {
		profiles = []string{defaultProfile}
	}
	rec, err := s.newRecord(ctx, o, pool, profiles, tree.ImageRecord{})
	if err != nil {
		return 0
	}
	size, err := rootSize(rec.ExpandedDevices)
	if err != nil {
		return 0
	}
	return size
}

// checkContainer refuses to make an instance of the image of a virtual machine.
func checkContainer(typ, fingerprint string) error {
	if typ != typeMachine {
		return nil
	}
	return withHint(fmt.Errorf("image %s is that of a virtual machine", fingerprint[:12]), "poolctl runs system containers; poolctl mount shows what is on its disk")
}

// lockedImage finds an image of a pool, notes that it is used, and holds its lock.
func (s *System) lockedImage(ctx context.Context, p *openedPool, ref string, o CreateOptions) (rec tree.ImageRecord, unlock func(), err error) {
	for range 10 {
		here, err := s.Images(ctx, p.rec.Name)
		if err != nil {
			return rec, nil, err
		}
		im, err := pickImage(here, ref)
		if err != nil {
			return rec, nil, err
		}
		if err := checkContainer(im.Type, im.Fingerprint); err != nil {
			return rec, nil, err
		}
		if _, err := checkArch(ctx, im.Architecture); err != nil {
			return rec, nil, err
		}
		if err := s.checkImageRequirements(im.Properties, o); err != nil {
			return rec, nil, err
		}
		if unlock, err = s.dir.LockImage(ctx, im.Fingerprint); err != nil {
			return rec, nil, err
		}
		if rec, err = p.Image(im.Fingerprint); err == nil {
			rec, err = touchImage(p, rec)
		}
		if err == nil {
			return rec, unlock, nil
		}
		unlock()
		if !errors.Is(err, fs.ErrNotExist) {
			return rec, nil, err
		} // a new version has taken its place while its lock was waited for
	}
	return rec, nil, withHint(fmt.Errorf("cannot find image %q: %w", ref, ErrNotFound), "it is being replaced again and again; try it once more")
}

// touchImage notes that an image was used now, at most once a minute.
func touchImage(p *openedPool, rec tree.ImageRecord) (tree.ImageRecord, error) {
	now := time.Now().UTC()
	if now.Sub(rec.LastUsedAt) < time.Minute {
		return rec, nil
	}
	return p.UpdateImage(rec.Fingerprint, func(r *tree.ImageRecord) error {
		r.LastUsedAt = now
		return nil
	})
}

// newRecord is the record of a new instance, with the volatile keys that LXD
// gives one.
func (s *System) newRecord(ctx context.Context, o CreateOptions, pool state.PoolRecord, profiles []string, image tree.ImageRecord) (tree.Instance, error) {
	config := map[string]string{
		"volatile.apply_template":         "create",
		"volatile.last_state.idmap":       "[]", // unshifted on disk: mapped when it is mounted
		"volatile.idmap.base":             "0",
		"volatile.uuid":                   newUUID(),
		"volatile.cloud-init.instance-id": newUUID(),
	}
	if image.Fingerprint != "" {
		config["volatile.base_image"] = image.Fingerprint
	}
	for k, v := range image.Properties {
		config["image."+k] = v
	}
	maps.Copy(config, o.Config)
	devices := maps.Clone(o.Devices)
	if devices == nil {
		devices = map[string]map[string]string{}
	}
	for _, name := range sortedKeys(devices) {
		if err := errors.Join(checkDeviceName(name), s.checkDevice(name, devices[name])); err != nil {
			return tree.Instance{}, err
		}
	}
	if o.Network != "" {
		devices["eth0"] = map[string]string{"type": "nic", "name": "eth0", "network": o.Network}
	}
	_, expanded, err := s.expand(profiles, config, devices)
	if err != nil {
		return tree.Instance{}, err
	}
	if root := rootDevice(expanded); root == "" || expanded[root]["pool"] != pool.Name {
		own := map[string]string{"type": "disk", "path": "/"}
		if devices[root] != nil { // given for it: only the pool is another
			own = maps.Clone(devices[root])
		} else {
			root = "root"
		}
		own["pool"] = pool.Name
		devices[root] = own
	}
	if devices, err = s.overrideDevices(profiles, config, devices, o.DeviceOverrides); err != nil {
		return tree.Instance{}, err
	}
	if devices, err = s.defaultSize(profiles, config, devices, pool); err != nil {
		return tree.Instance{}, err
	}
	if _, expanded, err = s.expand(profiles, config, devices); err != nil {
		return tree.Instance{}, err
	}
	for _, name := range nicsOf(expanded) {
		if err := s.checkNIC(expanded[name]); err != nil {
			return tree.Instance{}, fmt.Errorf("device %s: %w", name, err)
		}
		identifyNIC(name, expanded[name], config, config)
	}
	expandedConfig, expanded, err := s.expand(profiles, config, devices)
	if err != nil {
		return tree.Instance{}, err
	}
	used, err := profileInfo(s.profile, profiles)
	if err != nil {
		return tree.Instance{}, err
	}
	rec := tree.Instance{
		Pool: poolInfo(pool), ProfileInfo: used,
		Name: o.Name, Description: o.Description, Architecture: image.Architecture, Type: "container", Config: config, Devices: devices,
		Profiles: profiles, ExpandedConfig: expandedConfig, ExpandedDevices: expanded, CreatedAt: time.Now().UTC(),
		Ephemeral: o.Ephemeral,
	}
	return rec, s.checkNICs(ctx, rec, nicsOf(expanded))
}

// poolInfo is what an instance's record tells LXD of its pool.
func poolInfo(rec state.PoolRecord) *tree.PoolInfo {
	return &tree.PoolInfo{
		Config: rec.Config, Description: rec.Description, Name: rec.Name, Driver: rec.Driver,
		UsedBy: []string{}, Status: "Created", Locations: []string{"none"},
	}
}

// rootDevice names the device that is the root disk; "" when there is none.
func rootDevice(devices map[string]map[string]string) string {
	names := slices.Collect(maps.Keys(devices))
	sort.Strings(names)
	for _, n := range names {
		if devices[n]["type"] == "disk" && devices[n]["path"] == "/" {
			return n
		}
	}
	return ""
}

// newUUID is a random UUID, version 4 (RFC 9562).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
