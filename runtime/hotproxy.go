package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"poolctl/runtime/proxy"
	"poolctl/runtime/wait"
)

// Proxies are the proxy devices that the running instance has now.
func (i *Instance) Proxies() ([]proxy.Device, error) {
	list, err := loadProxies(i.dir)
	var out []proxy.Device
	for _, p := range list {
		out = append(out, p.Device)
	}
	return out, err
}

// AttachProxy starts to pass connections on, for the running instance. One that the
// instance has by that name, or listens on the same, is an error.
func (i *Instance) AttachProxy(ctx context.Context, d proxy.Device) error {
	return i.changeProxies(ctx, func(s *starter, list []liveProxy) ([]liveProxy, error) {
		all := []proxy.Device{d}
		for _, p := range list {
			if p.Device.Name == d.Name {
				return list, fmt.Errorf("device %s is there", d.Name)
			}
			all = append(all, p.Device)
		}
		if err := validateProxies(all); err != nil {
			return list, err
		}
		with := append(slices.Clone(list), liveProxy{Device: d})
		if err := s.start(ctx, with, len(list)); err != nil {
			if d.NAT {
				err = errors.Join(err, applyNAT(s.runDir, list))
			}
			return list, err
		}
		return with, nil
	})
}

// DetachProxy ends the proxy device of that name, and the connections that it has. One
// that is not there is no error.
func (i *Instance) DetachProxy(ctx context.Context, device string) error {
	return i.changeProxies(ctx, func(s *starter, list []liveProxy) ([]liveProxy, error) {
		at := slices.IndexFunc(list, func(p liveProxy) bool { return p.Device.Name == device })
		if at < 0 {
			return list, nil
		}
		if err := list[at].end(s.host, &s.inside); err != nil {
			return list, err
		}
		without := slices.Delete(slices.Clone(list), at, at+1)
		if list[at].Device.NAT {
			if err := applyNAT(s.runDir, without); err != nil {
				return list, err
			}
		}
		return without, nil
	})
}

// changeProxies changes the proxy devices of the running instance, and tells its
// supervisor.
func (i *Instance) changeProxies(ctx context.Context, change func(s *starter, list []liveProxy) ([]liveProxy, error)) error {
	ctx, cancel := context.WithTimeout(ctx, proxiesTime)
	defer cancel()
	unlock, err := lockProxies(ctx, i.dir)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := loadRecord(i.dir)
	if err != nil {
		return err
	}
	list, err := loadProxies(i.dir)
	if err != nil {
		return err
	}
	s, done, err := newStarter(rec.Spec, i.dir, i.state, i.pidfd)
	if err != nil {
		return err
	}
	defer done()
	list, err = change(s, list)
	if err = errors.Join(err, saveProxies(i.dir, list)); i.state.SupervisorPID > 0 {
		_ = unix.Kill(i.state.SupervisorPID, wait.ProxiesChanged) // if it is there: another one reads the file
	}
	return err
}

// runProxies is the main of the process that starts the proxy devices again of which the
// process has ended; the result is its exit status.
func runProxies() int {
	err := errors.New("invalid arguments")
	if len(os.Args) >= 3 {
		err = restartProxies(os.Args[2])
	}
	if err != nil && !errors.Is(err, ErrNotRunning) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func restartProxies(runDir string) error {
	inst, err := Open(runDir)
	if err != nil {
		return err
	}
	defer func() { _ = inst.Close() }() // not affected
	ctx, cancel := context.WithTimeout(context.Background(), proxiesTime)
	defer cancel()
	unlock, err := lockProxies(ctx, runDir)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := loadRecord(runDir)
	if err != nil {
		return err
	}
	list, err := loadProxies(runDir)
	if err != nil {
		return err
	}
	s, done, err := newStarter(rec.Spec, runDir, inst.state, inst.pidfd)
	if err != nil {
		return err
	}
	defer done()
	for k := range list {
		if !list[k].Device.NAT {
			s.restart(ctx, list, k)
		}
	}
	return saveProxies(runDir, list)
}

// restart starts the process of list[k] again unless it works, and logs why that is
// needed, or not possible.
func (s *starter) restart(ctx context.Context, list []liveProxy, k int) {
	p := &list[k]
	reason := "its process has ended"
	if fd, err := p.open(); err == nil {
		_ = unix.Close(fd) // not affected
		if there, err := p.visible(s); err != nil || there {
			return
		}
		reason = "its socket is not there any more"
	}
	err := p.end(s.host, &s.inside)
	told := p.Told
	if err == nil {
		err = s.start(ctx, list, k)
	}
	switch {
	case err == nil:
		fmt.Fprintf(os.Stderr, "%s: device %s is started again: %s\n", s.name, p.Device.Name, reason)
	case err.Error() != told:
		fmt.Fprintf(os.Stderr, "%s: cannot start again: %v\n", s.name, err)
		p.Told = err.Error()
	default:
		p.Told = told
	}
}

// visible says whether the socket in the instance can be seen: an init mounts over /run
// and others when it boots.
func (p *liveProxy) visible(s *starter) (bool, error) {
	if p.File == nil || !p.Device.Inside {
		return true, nil
	}
	return p.File.IsThere(s.inside)
}
