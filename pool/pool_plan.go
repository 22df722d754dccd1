package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/state"
)

// minPoolSize is the smallest pool: the smallest file system of mkfs.btrfs with
// its default profiles, in whole MiB.
const minPoolSize = (btrfs.MinSize + 1<<20 - 1) &^ (1<<20 - 1)

// poolPlan is a pool that is to be made, its options checked.
type poolPlan struct {
	rec    state.PoolRecord
	intent creating
	size   int64    // of a file, in bytes
	mkfs   []string // further arguments of mkfs.btrfs
	wipe   bool     // what the device holds is given up
}

// planPool validates the arguments of a new pool and says what it is to be.
// Nothing is made.
func (s *System) planPool(o CreatePoolOptions) (poolPlan, error) {
	var p poolPlan
	if err := state.ValidateName("pool", o.Name); err != nil {
		return p, err
	}
	if o.Driver != "" && o.Driver != "btrfs" {
		return p, withHint(fmt.Errorf("unknown driver %q", o.Driver), "poolctl's pools are btrfs")
	}
	for _, k := range sortedKeys(o.Config) { // before the source is looked at
		if _, err := findPoolKey(k); err != nil {
			return p, err
		}
	}
	if err := errors.Join(btrfs.Check(), loopdev.Check()); err != nil {
		return p, err
	}
	config := maps.Clone(o.Config)
	maps.DeleteFunc(config, func(_, v string) bool { return v == "" })
	kind, path, err := s.locateSource(o.Name, config)
	if err != nil {
		return p, err
	}
	wipe := config["source.wipe"]
	if config == nil {
		config = map[string]string{}
	}
	if checkBool(wipe) == nil && !isTrue(wipe) {
		delete(config, "source.wipe")
		wipe = ""
	}
	if err := checkPoolConfig(kind, config); err != nil {
		return p, err
	}
	delete(config, "source.wipe") // it is about what is there now
	config["source"] = path
	p.rec = state.PoolRecord{Name: o.Name, Driver: "btrfs", Description: o.Description, Kind: kind, Source: path, Config: config, CreatedAt: time.Now().UTC()}
	p.intent = creating{Name: o.Name, Kind: kind, Path: path}
	if err := checkOptionValues(p.rec); err != nil {
		return p, err
	}
	if p.mkfs, err = createOptions(config["btrfs.create_options"]); err != nil {
		return p, err
	}
	switch kind {
	case state.PoolDevice:
		return p, planDevice(&p, wipe)
	case state.PoolDirectory:
		return p, planSubvolume(&p)
	}
	return p, s.planFile(&p)
}

// locateSource says what a pool is to lie on. A path at which there is nothing
// is a file to make; below a directory of a btrfs file system it is a subvolume,
// unless its name has an ending or a file's size or reserve is given.
func (s *System) locateSource(name string, config map[string]string) (kind, path string, err error) {
	src := config["source"]
	if src == "" {
		return state.PoolFile, s.dir.DiskFile(name), nil
	}
	if strings.ContainsRune(src, 0) {
		return "", "", errors.New("a path cannot have a NUL in it")
	}
	if path, err = filepath.Abs(src); err != nil {
		return "", "", err
	}
	if err := s.checkOutsidePools(path); err != nil {
		return "", "", err
	}
	fi, err := os.Stat(path)
	switch {
	case err == nil && fi.IsDir():
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return "", "", err
		}
		return state.PoolDirectory, path, s.checkOutsidePools(path)
	case err == nil && fi.Mode()&fs.ModeType == fs.ModeDevice:
		return state.PoolDevice, path, nil
	case err == nil && !fi.Mode().IsRegular():
		return "", "", fmt.Errorf("%s is neither a file, nor a block device, nor a directory", path)
	case err == nil:
		return "", "", withHint(fmt.Errorf("%s: %w", path, ErrExists), "poolctl never overwrites a file: choose another source=, or move it away; poolctl pool adopt takes in a pool's file")
	case !errors.Is(err, fs.ErrNotExist):
		return "", "", fmt.Errorf("%s: %w", path, statError(err))
	}
	if _, err := os.Lstat(path); err == nil {
		return "", "", fmt.Errorf("%s is a symbolic link to nothing", path)
	}
	return s.locateNew(src, path, config)
}

// locateNew says what is to be made at a path where there is nothing.
func (s *System) locateNew(src, path string, config map[string]string) (kind, where string, err error) {
	dir := filepath.Dir(path)
	parent, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", withHint(fmt.Errorf("there is no directory %s", dir), "mkdir -p %s", shellWord(dir))
	} else if err != nil {
		return "", "", fmt.Errorf("%s: %w", dir, statError(err))
	}
	where = filepath.Join(parent, filepath.Base(path))
	if err := s.checkOutsidePools(where); err != nil {
		return "", "", err
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(parent, &fsys); err != nil {
		return "", "", fmt.Errorf("%s: %w", parent, err)
	}
	onBtrfs, slash := fsys.Type == unix.BTRFS_SUPER_MAGIC, strings.HasSuffix(src, "/")
	switch {
	case pathIsBelow(where, "/dev") && sameFileSystem(parent, "/dev"): // not in /dev/shm, say
		return "", "", fmt.Errorf("there is no device %s", path)
	case slash && !onBtrfs:
		return "", "", withHint(fmt.Errorf("%s is not on btrfs, so that no subvolume can be made there", parent), "without the slash at its end it is a file to make")
	case slash, onBtrfs && filepath.Ext(path) == "" && config["size"] == "" && config["reserve"] == "":
		return state.PoolDirectory, where, nil
	}
	return state.PoolFile, path, nil
}

// sameFileSystem says whether two directories have one device number.
func sameFileSystem(a, b string) bool {
	var sa, sb unix.Stat_t
	return unix.Stat(a, &sa) == nil && unix.Stat(b, &sb) == nil && sa.Dev == sb.Dev
}

// checkOutsidePools refuses a source within a pool: the one would be lost with
// the other.
func (s *System) checkOutsidePools(path string) error {
	if pools := filepath.Join(s.dir.Root, "storage-pools"); path == pools || pathIsBelow(path, pools) {
		return withHint(fmt.Errorf("%s is where the pools are mounted", path), "choose another source=")
	}
	names, err := s.dir.ListPools()
	if err != nil {
		return err
	}
	for _, n := range names {
		rec, err := s.dir.LoadPool(n)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if rec.Source == path || rec.Kind == state.PoolDirectory && pathIsBelow(path, rec.Source) {
			return withHint(fmt.Errorf("%s is pool %s's: %w", path, n, ErrInUse), "choose another source=")
		}
	}
	return nil
}

// planFile says how large the file is to be.
func (s *System) planFile(p *poolPlan) error {
	dir := filepath.Dir(p.rec.Source)
	if _, err := os.Lstat(p.rec.Source); err == nil { // the default one, of a pool that is no more
		return withHint(fmt.Errorf("%s: %w", p.rec.Source, ErrExists), "poolctl never overwrites a file: choose another source=, or move it away; poolctl pool adopt takes in a pool's file")
	}
	free, err := freeAt(dir)
	if err != nil {
		return err
	}
	p.size = defaultPoolSize(free)
	text := p.rec.Config["size"]
	if text != "" {
		if p.size, err = ParseSize(text); err != nil {
			return err
		}
	} else {
		p.rec.Config["size"] = FormatSize(p.size)
	}
	if p.size < minPoolSize {
		return withHint(fmt.Errorf("size %s is too small for btrfs", FormatSize(p.size)), "the smallest pool is %s", FormatSize(minPoolSize))
	}
	p.size &^= 4096 - 1
	if isTrue(p.rec.Config["reserve"]) {
		return needReserved(p.rec.Source, p.size)
	}
	plan, err := planHost("", "the smallest pool", p.rec.Source, minPoolSize)
	if err != nil || plan.Problem != "" {
		return errors.Join(err, plan.Err())
	}
	if p.size > free {
		s.noticef("pool %s may grow to %s, but %s has only %s free now", p.rec.Name, FormatSize(p.size), dir, FormatSize(free))
	}
	return nil
}

// defaultPoolSize is a fifth of the free space, between 5 and 30 GiB, and never
// more than fits.
func defaultPoolSize(free int64) int64 {
	size := min(max(free/5, 5<<30), 30<<30)
	if size > free {
		size = free
	}
	return max(size, minPoolSize) &^ (1<<20 - 1)
}
