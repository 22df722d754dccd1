package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// The defaults of `admin init`.
const (
	initPool    = "default"
	initSizeGiB = 2
	initNetwork = "poolbr0"
	initAddress = "auto"
	noNetwork   = "none"
)

// initOptions are the flags of `admin init`.
type initOptions struct {
	auto, minimal, preseed bool
	backend, pool          string
	device, source         string
	sizeGiB                int
	loop                   bool // a size was given
	network, ipv4, ipv6    string
}

// flagsOfAuto are the flags that need --auto, as in incus.
func (o *initOptions) flagsOfAuto() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "storage-backend", Usage: "`DRIVER` of the pool: btrfs", Value: "btrfs", Destination: &o.backend},
		&cli.StringFlag{Name: "storage-create-device", Usage: "empty block `DEVICE` for the pool, in place of a file", Destination: &o.device, TakesFile: true},
		&cli.IntFlag{Name: "storage-create-loop", Usage: "size of the pool's file in `GIB`", Value: initSizeGiB, Destination: &o.sizeGiB, Action: o.loopSize},
		&cli.StringFlag{Name: "storage-pool", Usage: "`NAME` of the pool", Value: initPool, Destination: &o.pool},
		&cli.StringFlag{Name: "storage-source", Usage: "`PATH` of a file to make for the pool, or of a device or directory as pool create takes it", DefaultText: "a file below the state directory", Destination: &o.source, TakesFile: true},
		&cli.StringFlag{Name: "network-bridge", Usage: "`NAME` of the bridge, or none", Value: initNetwork, Destination: &o.network},
		&cli.StringFlag{Name: "network-ipv4", Usage: "`ADDRESS` of the bridge with its prefix length, auto or none", Value: initAddress, Destination: &o.ipv4},
		&cli.StringFlag{Name: "network-ipv6", Usage: "`ADDRESS` of the bridge with its prefix length, auto or none", Value: initAddress, Destination: &o.ipv6},
	}
}

func adminInitCommand(e *env) *cli.Command {
	o := &initOptions{}
	autoFlags := o.flagsOfAuto()
	run := e.action(0, 0, func(ctx context.Context, s *pool.System, _ []string) error { return e.adminInit(ctx, s, o) })
	return &cli.Command{
		Name: "init", Usage: "set up a pool, a bridge and the default profile",
		Description: example("Asks, unless told not to. What is there already stays as it is.",
			"poolctl admin init --minimal", "poolctl admin init --auto --storage-create-loop 20 --storage-pool default", "poolctl admin init --preseed < preseed.yaml"),
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "auto", Usage: "ask nothing; take the flags below", Destination: &o.auto},
			&cli.BoolFlag{Name: "minimal", Usage: "ask nothing; take the defaults", Destination: &o.minimal},
			&cli.BoolFlag{Name: "preseed", Usage: "read the pools, networks and the default profile as YAML from the input", Destination: &o.preseed},
		}, autoFlags...),
		Action: func(c *cli.Context) error {
			if err := o.check(c, autoFlags); err != nil {
				return err
			}
			return run(c)
		},
	}
}

// loopSize notes that --storage-create-loop was given.
func (o *initOptions) loopSize(c *cli.Context, n int) error {
	o.loop = true
	return positive(c, n)
}

// check refuses flags that do not go together.
func (o *initOptions) check(c *cli.Context, autoFlags []cli.Flag) error {
	ways := 0
	for _, on := range []bool{o.auto, o.minimal, o.preseed} {
		if on {
			ways++
		}
	}
	if ways > 1 {
		return usagef(c, "--auto, --minimal and --preseed exclude each other")
	}
	for _, f := range autoFlags {
		if name := f.Names()[0]; !o.auto && c.IsSet(name) {
			return usagef(c, "--%s needs --auto", name)
		}
	}
	if o.device != "" && (o.loop || o.source != "") {
		return usagef(c, "--storage-create-device excludes --storage-create-loop and --storage-source")
	}
	if o.backend != "btrfs" {
		return usagef(c, "unknown storage backend %q: only btrfs", o.backend)
	}
	return nil
}

func (e *env) adminInit(ctx context.Context, s *pool.System, o *initOptions) error {
	switch {
	case o.preseed:
		return e.preseed(ctx, s)
	case o.auto, o.minimal:
		return s.AdminInit(ctx, o.options())
	}
	answers, err := e.askInit()
	if err != nil {
		return err
	}
	return s.AdminInit(ctx, answers)
}

// options are the flags, or with --minimal their defaults.
func (o *initOptions) options() pool.InitOptions {
	out := pool.InitOptions{PoolName: o.pool, PoolSource: o.source, Network: o.network, IPv4: o.ipv4, IPv6: o.ipv6}
	size := fmt.Sprintf("%dGiB", o.sizeGiB)
	switch {
	case o.device != "":
		out.PoolSource = o.device
	case o.loop:
		out.PoolSize = size
	default: // of a file, if the source is to be one
		out.DefaultSize = size
	}
	if o.network == noNetwork {
		out.Network, out.IPv4, out.IPv6 = "", "", ""
	}
	return out
}
