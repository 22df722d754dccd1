// Package deps pins the dependencies while the packages that use them are being written.
package deps

import (
	_ "github.com/containerd/console"
	_ "github.com/dennwc/btrfs"
	_ "github.com/dustin/go-humanize"
	_ "github.com/flosch/pongo2/v6"
	_ "github.com/freddierice/go-losetup/v2"
	_ "github.com/gofrs/flock"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/google/renameio/v2"
	_ "github.com/jedib0t/go-pretty/v6/table"
	_ "github.com/klauspost/compress/zstd"
	_ "github.com/lxc/lxd/shared/simplestreams"
	_ "github.com/mikelolasagasti/xz"
	_ "github.com/moby/sys/mountinfo"
	_ "github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/manager"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/urfave/cli/v2"
	_ "github.com/vbauerster/mpb/v8"
	_ "github.com/vishvananda/netlink"
	_ "go.yaml.in/yaml/v3"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/term"
	_ "pgregory.net/rapid"
)
