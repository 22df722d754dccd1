package pool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/runtime"
)

// unixTypes are the types of devices that are a device node, and what the node is.
var unixTypes = map[string]struct {
	kind rune
	what string
}{
	"unix-char":  {'c', "character device"},
	"unix-block": {'b', "block device"},
}

// isUnixDevice says whether a device is a node for a device of the host's.
func isUnixDevice(dev map[string]string) bool { _, is := unixTypes[dev["type"]]; return is }

// isMounted says whether a device is one that is mounted in the instance.
func isMounted(dev map[string]string) bool { return isDisk(dev) || isUnixDevice(dev) }

// unixKeys are the keys that such a device can have
// (https://linuxcontainers.org/incus/docs/main/reference/devices_unix_char/).
var unixKeys = []string{"source", "path", "major", "minor", "mode", "uid", "gid", "required"}

// checkUnixDevice validates the configuration of such a device.
func checkUnixDevice(dev map[string]string) error {
	if err := checkKeys(dev, unixKeys...); err != nil {
		return err
	}
	if dev["source"] == "" && dev["path"] == "" {
		return withHint(errors.New("it has neither source nor path"), "source=/dev/NAME on the host, path=/dev/NAME inside")
	}
	for _, k := range []string{"source", "path"} {
		if v := dev[k]; v != "" && (!filepath.IsAbs(v) || filepath.Clean(v) == "/" || strings.ContainsAny(v, "\x00\n")) {
			return withHint(fmt.Errorf("%s %q is not the path of a device", k, v), "an absolute path: %s=/dev/NAME", k)
		}
	}
	if (dev["major"] == "") != (dev["minor"] == "") {
		return withHint(errors.New("it has one of major and minor only"), "both, or neither: then they are those of the source")
	}
	if v := dev["required"]; v != "" {
		if err := checkBool(v); err != nil {
			return fmt.Errorf("required=%s: %w", v, err)
		}
	}
	_, err := nodeOf(dev)
	return err
}

// nodeOf is the node that the keys describe; without major and minor, what the
// source says of them is missing.
func nodeOf(dev map[string]string) (runtime.Node, error) {
	n := runtime.Node{Type: unixTypes[dev["type"]].kind, Mode: 0o660}
	for _, k := range []struct {
		key  string
		base int
		most uint64
		set  func(v uint64)
	}{
		// What the kernel has (linux/kdev_t.h).
		{"major", 10, 1<<12 - 1, func(v uint64) { n.Major = int64(v) }},
		{"minor", 10, 1<<20 - 1, func(v uint64) { n.Minor = int64(v) }},
		{"mode", 8, 0o777, func(v uint64) { n.Mode = uint32(v) }},
		{"uid", 10, 1<<32 - 2, func(v uint64) { n.UID = uint32(v) }},
		{"gid", 10, 1<<32 - 2, func(v uint64) { n.GID = uint32(v) }},
	} {
		text := dev[k.key]
		if text == "" {
			continue
		}
		v, err := strconv.ParseUint(text, k.base, 64)
		if err != nil || v > k.most {
			want := fmt.Sprintf("a number from 0 to %d", k.most)
			if k.base == 8 {
				want = "permissions in octal: 0660"
			}
			return n, fmt.Errorf("invalid %s %q: want %s", k.key, text, want)
		}
		k.set(v)
	}
	return n, nil
}

// nodeDisk is such a device as the runtime mounts it.
func nodeDisk(d diskDevice) (out runtime.Disk, err error) {
	out = runtime.Disk{Device: d.name, Source: d.dev["source"], Path: d.dev["path"]}
	if out.Source == "" {
		out.Source = out.Path
	}
	if out.Path == "" {
		out.Path = out.Source
	}
	if out.Node, err = nodeOf(d.dev); err != nil || d.dev["major"] != "" {
		return out, err
	}
	var st unix.Stat_t
	if err := unix.Stat(out.Source, &st); err != nil {
		return out, withHint(&os.PathError{Op: "stat", Path: out.Source, Err: err}, "required=false leaves a device out that the host has not")
	}
	kinds := map[rune]uint32{'c': unix.S_IFCHR, 'b': unix.S_IFBLK}
	if st.Mode&unix.S_IFMT != kinds[out.Node.Type] {
		return out, fmt.Errorf("%s is no %s", out.Source, unixTypes[d.dev["type"]].what)
	}
	out.Node.Major, out.Node.Minor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	return out, nil
}

// deviceTypes are the types that a device can have, for messages.
func deviceTypes() string {
	types := deviceTypeNames()
	return strings.Join(types[:len(types)-1], ", ") + " and " + types[len(types)-1]
}

func deviceTypeNames() []string {
	types := append([]string{"disk", "nic", "none", "proxy"}, sortedKeys(unixTypes)...)
	slices.Sort(types)
	return types
}
