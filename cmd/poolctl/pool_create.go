package main

import (
	"context"
	"maps"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// poolCreateFlags stand for keys of the configuration.
type poolCreateFlags struct {
	size, source, compress, wipe string
	reserve                      bool
}

func (f *poolCreateFlags) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "size", Usage: "`SIZE` of the pool's file, the same as size=", Destination: &f.size},
		&cli.StringFlag{Name: "source", Usage: "`PATH` of the file, device or directory, the same as source=", Destination: &f.source, TakesFile: true},
		&cli.BoolFlag{Name: "reserve", Usage: "give the pool's file all its blocks now, the same as reserve=true", Destination: &f.reserve},
		&cli.StringFlag{Name: "compress", Usage: "compress what is written with `ALGORITHM[:LEVEL]`: zstd, zlib, lzo or none, the same as compress=", Destination: &f.compress},
		&cli.StringFlag{Name: "wipe", Usage: "destroy what is on `DEVICE`, which has to be the pool's source, the same as source.wipe=", Destination: &f.wipe, TakesFile: true},
	}
}

// config are the keys that the flags stand for.
func (f *poolCreateFlags) config() map[string]string {
	out := map[string]string{"size": f.size, "source": f.source, "compress": f.compress, "source.wipe": f.wipe}
	if f.reserve {
		out["reserve"] = "true"
	}
	maps.DeleteFunc(out, func(_, v string) bool { return v == "" })
	return out
}

// poolCreateHelp is the description of `pool create`.
const poolCreateHelp = `The source is what the pool lies on:
   a path at which there is nothing      a new sparse file (default: disks/NAME.img in the state directory)
   a block device                        the whole of it; one that holds anything is refused unless --wipe names it
   an empty directory or subvolume on    a subvolume of that file system, shared with its owner; a path at which
   a btrfs file system                   there is nothing becomes one if it is on btrfs, has no ending such as
                                         ".img", and neither size nor reserve is given, or if it ends in a slash
The size is a number of bytes or has a unit: 2GB is 2 000 000 000, 2GiB 2 147 483 648. Default: a fifth of the free space,
at least 5GiB and at most 30GiB, but no more than fits.
Keys: size, source, source.wipe, compress, reserve, btrfs.mount_options, btrfs.create_options (of mkfs.btrfs),
btrfs.quotas, images.originals, images.remote_cache_expiry, images.auto_update_cached, trash.expiry, volume.size and the other
volume.* defaults, user.*
btrfs.quotas says how the pool counts what each instance and volume takes: simple quotas from Linux 6.7 on (cheap, but an
older kernel cannot mount the pool, and btrfs-progs before 6.7 cannot check it), qgroups, or none; auto takes simple ones
where the kernel has them, and qgroups elsewhere once a size is asked for.
images.originals says of which pulled images the pool keeps the files that they came as, besides what was unpacked of them: auto
keeps the squashfs of an image from a server that has deltas, if xdelta3 is installed, so that the next version can be made of it
and a small download; always keeps all files; never none. Those of imported and published images are always kept.
images.remote_cache_expiry is after how many days without use an image is deleted that was pulled for an instance (10; 0 is never),
and images.auto_update_cached whether such images are kept up to date (true).`

func poolCreateCommand(e *env) *cli.Command {
	var f poolCreateFlags
	var description string
	return &cli.Command{
		Name: "create", Usage: "create a pool in a new file, on a block device, or in a directory on btrfs", ArgsUsage: "NAME [btrfs] [KEY=VALUE...]",
		Description: example(poolCreateHelp, "poolctl pool create fast btrfs size=20GiB source=/srv/fast.img --compress zstd:3",
			"poolctl pool create disk source=/dev/disk/by-id/nvme-X --wipe /dev/disk/by-id/nvme-X", "poolctl pool create shared source=/mnt/data/pools"),
		Flags: append(f.flags(), &cli.StringFlag{Name: "description", Usage: "`TEXT` about the pool", Destination: &description}),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			o, err := createPoolOptions(args, f.config())
			if err != nil {
				return err
			}
			o.Description = description
			if err := s.CreatePool(ctx, o); err != nil {
				return err
			}
			e.say("Storage pool %s created", o.Name)
			return nil
		}),
	}
}

// createPoolOptions reads NAME [DRIVER] [KEY=VALUE...] and the flags, which
// stand for keys.
func createPoolOptions(args []string, flags map[string]string) (pool.CreatePoolOptions, error) {
	o := pool.CreatePoolOptions{Name: args[0]}
	rest := args[1:]
	if len(rest) > 0 && !isPair(rest[0]) {
		o.Driver, rest = rest[0], rest[1:]
	}
	config, err := keyValues("pool create", rest)
	if err != nil {
		return o, err
	}
	for k, v := range flags {
		if have, twice := config[k]; twice && have != v {
			return o, badUsage("pool create", "%s is given twice: %s and %s", k, have, v)
		}
	}
	maps.Copy(config, flags)
	o.Config = config
	return o, nil
}
