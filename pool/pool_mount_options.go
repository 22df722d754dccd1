package pool

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/pool/state"
)

// defaultMountOptions are those LXD mounts its btrfs pools with.
const defaultMountOptions = "user_subvol_rm_allowed"

// mountOption is an option that btrfs.mount_options can have (btrfs(5)).
type mountOption struct {
	flag uintptr // of mount(2), for what is not an option of btrfs itself
	// refused is why a pool cannot have it.
	refused string
	// off is the option that ends it in a remount; "" when only a new mount does.
	off string
}

// mountOptionTable has every option that is taken, and some that are not with
// the reason why.
func mountOptionTable() map[string]mountOption {
	const (
		elsewhere = "a pool is the whole of its file system"
		damage    = "it is for saving what is left of a damaged file system, read-only"
		guests    = "it would hold for the instances too"
	)
	return map[string]mountOption{
		"noatime": {flag: unix.MS_NOATIME}, "nodiratime": {flag: unix.MS_NODIRATIME}, "relatime": {flag: unix.MS_RELATIME},
		"strictatime": {flag: unix.MS_STRICTATIME}, "lazytime": {flag: unix.MS_LAZYTIME},
		"defaults": {}, "rw": {},
		"acl": {off: "acl"}, "noacl": {off: "acl"}, "autodefrag": {off: "noautodefrag"}, "noautodefrag": {off: "noautodefrag"},
		"barrier": {off: "barrier"}, "nobarrier": {off: "barrier"}, "clear_cache": {}, "commit": {off: "commit=30"},
		"compress": {off: "compress=no"}, "compress-force": {off: "compress=no"},
		"datacow": {off: "datacow"}, "nodatacow": {off: "datacow"}, "datasum": {off: "datasum"}, "nodatasum": {off: "datasum"},
		"degraded": {}, "discard": {off: "nodiscard"}, "nodiscard": {},
		"enospc_debug": {off: "noenospc_debug"}, "noenospc_debug": {}, "fatal_errors": {},
		"flushoncommit": {off: "noflushoncommit"}, "noflushoncommit": {off: "noflushoncommit"},
		"max_inline": {off: "max_inline=2048"}, "metadata_ratio": {off: "metadata_ratio=0"},
		"treelog": {off: "treelog"}, "notreelog": {off: "treelog"}, "rescan_uuid_tree": {}, "skip_balance": {},
		"space_cache": {}, "nospace_cache": {}, "ssd": {}, "nossd": {}, "ssd_spread": {}, "nossd_spread": {},
		"thread_pool": {}, "user_subvol_rm_allowed": {},
		"subvol": {refused: elsewhere}, "subvolid": {refused: elsewhere}, "device": {refused: elsewhere},
		"ro": {refused: "nothing could be made in the pool"}, "loop": {refused: "poolctl attaches the file itself"},
		"offset": {refused: "poolctl attaches the file itself"}, "sizelimit": {refused: "poolctl attaches the file itself"},
		"remount": {refused: "it is not an option of a pool"}, "bind": {refused: "it is not an option of a pool"},
		"norecovery": {refused: damage}, "nologreplay": {refused: damage}, "rescue": {refused: damage}, "usebackuproot": {refused: damage}, "recovery": {refused: damage},
		"nosuid": {refused: guests}, "nodev": {refused: guests}, "noexec": {refused: guests}, "sync": {refused: "it is not an option of a pool"},
	}
}

// checkMountOptions takes options separated by commas. What their values can be
// the kernel says, at the next mount at the latest.
func checkMountOptions(v string) error {
	table := mountOptionTable()
	for _, o := range strings.Split(v, ",") {
		name, _, _ := strings.Cut(o, "=")
		known, ok := table[name]
		switch {
		case o == "":
			return errors.New("an option is empty")
		case strings.ContainsAny(o, " \t\n\"\\"):
			return fmt.Errorf("%q is no mount option", o)
		case !ok:
			return withHint(fmt.Errorf("unknown mount option %q", name), "man 5 btrfs lists them")
		case known.refused != "":
			return fmt.Errorf("%s: %s", name, known.refused)
		}
	}
	return nil
}

// checkCompress takes zstd (level 1 to 15), zlib (1 to 9), lzo and none.
func checkCompress(v string) error {
	name, level, leveled := strings.Cut(v, ":")
	most := map[string]int{"zstd": 15, "zlib": 9, "lzo": 0, "none": 0}
	highest, ok := most[name]
	if !ok {
		return withHint(fmt.Errorf("unknown compression %q", name), "zstd, zlib, lzo or none; zstd and zlib with a level: zstd:3")
	}
	n, err := strconv.Atoi(level)
	switch {
	case leveled && highest == 0:
		return fmt.Errorf("%s has no levels", name)
	case leveled && (err != nil || n < 1 || n > highest || strconv.Itoa(n) != level):
		return fmt.Errorf("the levels of %s are 1 to %d", name, highest)
	}
	return nil
}

// checkCompressOnce refuses two ways of saying how to compress.
func checkCompressOnce(config map[string]string) error {
	if config["compress"] == "" {
		return nil
	}
	for _, o := range strings.Split(config["btrfs.mount_options"], ",") {
		if name, _, _ := strings.Cut(o, "="); name == "compress" || name == "compress-force" {
			return withHint(fmt.Errorf("both compress and btrfs.mount_options say how to compress"), "set one of them")
		}
	}
	return nil
}

// poolMountOptions are the options of a pool's mount, without the default ones
// that its configuration replaces.
func poolMountOptions(rec state.PoolRecord) []string {
	options := strings.Split(defaultMountOptions, ",")
	if own := rec.Config["btrfs.mount_options"]; own != "" {
		options = strings.Split(own, ",")
	}
	switch c := rec.Config["compress"]; c {
	case "":
	case "none":
		options = append(options, "compress=no")
	default:
		options = append(options, "compress="+c)
	}
	if isTrue(rec.Config["reserve"]) && !slices.ContainsFunc(options, isDiscard) {
		options = append(options, "nodiscard") // it would give back what was reserved
	}
	return options
}

func isDiscard(o string) bool { return o == "discard" || strings.HasPrefix(o, "discard=") }

// mountArguments are the options as mount(2) wants them: flags, and the rest
// for btrfs.
func mountArguments(options []string) (flags uintptr, data string) {
	table := mountOptionTable()
	var rest []string
	for _, o := range options {
		name, _, _ := strings.Cut(o, "=")
		switch known := table[name]; {
		case known.flag != 0:
			flags |= known.flag
		case o == "defaults" || o == "rw":
		default:
			rest = append(rest, o)
		}
	}
	return flags, strings.Join(rest, ",")
}
