package pool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"poolctl/runtime/guestfs"
	"poolctl/runtime/network"
)

const (
	resolvConf = "/etc/resolv.conf"
	// resolvMark is the first line of a resolvConf that was written from outside: only
	// such a one is ever replaced.
	resolvMark = "# Written by poolctl, as there was no other. It stays if this line is removed."
	// resolvMost is how long a file is that is looked at, in bytes.
	resolvMost = 64 << 10
	// resolvWait is how long a change of a network waits for a command that is at work on
	// an instance.
	resolvWait = 5 * time.Second
)

// keepResolver has an instance without a DHCP client know its networks' resolver: its
// addresses are set from outside, so the resolver is, too. It writes /etc/resolv.conf
// where that is missing or names none, before the instance starts: a client of
// the image's own replaces it. What it wrote itself before, it writes anew or, on
// no network any more, removes.
//
// The root is the one on disk: nothing that is mounted inside is met.
func (s *System) keepResolver(ctx context.Context, in *lockedInstance, nics []network.NIC) (err error) {
	root, err := stoppedRoot(in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return putResolver(ctx, root, s.resolverText(nics))
}

// putResolver makes resolvConf want, nothing if that is "", if it may.
func putResolver(ctx context.Context, root *guestfs.Root, want string) error {
	there, may, err := readResolver(root)
	if err != nil || !may {
		return err
	}
	switch {
	case want == there || want == "" && !strings.HasPrefix(there, resolvMark):
		return nil
	case want == "":
		return ignoreNotExist(root.Remove(resolvConf))
	}
	return root.WriteFile(ctx, resolvConf, strings.NewReader(want), guestfs.Owner{})
}

// readResolver reads resolvConf and says whether it may be written. A symbolic link is
// somebody's who fills what it leads to, and systemd-resolved makes one where nothing is.
func readResolver(root *guestfs.Root) (text string, may bool, err error) {
	info, err := root.Lstat(resolvConf)
	if errors.Is(err, fs.ErrNotExist) {
		etc, err := root.Lstat("/etc")
		if err != nil || !etc.Mode.IsDir() {
			return "", false, ignoreNotExist(err)
		}
		for _, path := range []string{"/usr/lib/systemd/systemd-resolved", "/lib/systemd/systemd-resolved"} {
			if _, err := root.Stat(path); err == nil {
				return "", false, nil
			}
		}
		return "", true, nil
	}
	if err != nil || !info.Mode.IsRegular() || info.Size > resolvMost {
		return "", false, err
	}
	f, _, err := root.Open(resolvConf)
	if err != nil {
		return "", false, err
	}
	data, err := io.ReadAll(io.LimitReader(f, resolvMost))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", false, err
	}
	return string(data), bytes.HasPrefix(data, []byte(resolvMark)) || !namesServer(string(data)), nil
}

// namesServer says whether a resolv.conf(5) names a resolver.
func namesServer(text string) bool {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			return true
		}
	}
	return false
}

// resolverText is a resolv.conf(5) with the resolvers of the first of the interfaces
// whose network has any, as its DHCP server tells them; "" when none has.
func (s *System) resolverText(nics []network.NIC) string {
	for _, n := range nics {
		if n.Bridge == "" || !n.IPv4.IsValid() && !n.IPv6.IsValid() {
			continue
		}
		rec, err := s.dir.LoadNetwork(n.Bridge)
		if err != nil {
			continue // a bridge of the host's
		}
		b, err := s.bridge(rec)
		if err != nil {
			continue // doctor tells of it
		}
		servers, search := b.Resolver(n)
		if len(servers) == 0 {
			continue
		}
		lines := []string{resolvMark}
		if len(search) > 0 {
			lines = append(lines, "search "+strings.Join(search, " "))
		}
		for _, a := range servers {
			lines = append(lines, "nameserver "+a.String())
		}
		return strings.Join(lines, "\n") + "\n"
	}
	return ""
}

// renewResolvers does for running instances on a network, which has changed, what
// keepResolver does at a start. What fails is told.
func (s *System) renewResolvers(ctx context.Context, name string) {
	names, err := s.networkInstances(ctx, name)
	if err != nil {
		s.noticef("the resolvers of instances stay as they are: %s", err)
		return
	}
	for _, instance := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if err := s.renewResolver(ctx, instance); err != nil {
			s.noticef("%s of %s stays as it is: %s", resolvConf, instance, err)
		}
	}
}

func (s *System) renewResolver(ctx context.Context, instance string) (err error) {
	if !s.isLive(instance) {
		return nil // its start sees to it
	}
	short, cancel := context.WithTimeoutCause(ctx, resolvWait, errors.New("another command is at work on it"))
	defer cancel()
	in, err := s.lockInstance(short, instance)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	live, err := s.runningInstance(instance)
	if err != nil {
		return nil // it has ended
	}
	nics, err := live.NICs()
	if err = errors.Join(err, live.Close()); err != nil {
		return err
	}
	return s.keepResolver(ctx, in, nics)
}
