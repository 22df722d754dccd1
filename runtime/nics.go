package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/runtime/network"
)

// nicsFile has the interfaces of an instance, of its start and those that were added and
// removed since, before they are made and until they are gone.
const nicsFile = "nics.json"

// pinFile is where the network namespace of an instance that has an interface of the host's
// is mounted: one that dies takes along what is in it, whoever was killed.
const pinFile = "netns"

func saveNICs(runDir string, nics []network.NIC) error {
	data, err := json.Marshal(nics)
	if err == nil {
		err = writeAtomic(filepath.Join(runDir, nicsFile), data)
	}
	if err != nil {
		return fmt.Errorf("cannot save the instance's interfaces: %w", err)
	}
	return nil
}

// loadNICs reads what saveNICs has saved; none when it has not.
func loadNICs(runDir string) (nics []network.NIC, err error) {
	f, err := os.Open(filepath.Join(runDir, nicsFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = decodeLimited(f, &nics)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the instance's interfaces: %w", err)
	}
	return nics, nil
}

// prepareNICs completes interfaces and saves them.
func prepareNICs(runDir string, nics []network.NIC) error {
	nics = slices.Clone(nics)
	for i, n := range nics {
		var err error
		if nics[i], err = network.Prepare(n); err != nil {
			return err
		}
	}
	return saveNICs(runDir, nics)
}

// attachNICs plugs in the network.
func (s *supervisor) attachNICs(ctx context.Context, pid int) error {
	nics, err := loadNICs(s.spec.RunDir)
	if err != nil {
		return err
	}
	for _, n := range nics {
		if n.Kind == network.Physical {
			if err := pin(s.spec.RunDir, pid, int(s.hostNS.Fd())); err != nil {
				return err
			}
		}
		if err := network.Attach(ctx, n, pid); err != nil {
			return err
		}
	}
	return nil
}

// pin keeps the network namespace of a process, in the mount namespace hostNS.
func pin(runDir string, pid, hostNS int) error {
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil { // else no thread may change its mount namespace
			return err
		}
		if err := unix.Setns(hostNS, unix.CLONE_NEWNS); err != nil {
			return err
		}
		path := filepath.Join(runDir, pinFile)
		if mounted, err := isNetNS(path); err != nil || mounted {
			return err // another of its interfaces had it pinned
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		return unix.Mount(fmt.Sprintf("/proc/%d/ns/net", pid), path, "", unix.MS_BIND, "")
	})
	if err != nil {
		return fmt.Errorf("cannot keep the instance's network namespace: %w", err)
	}
	return nil
}

// isNetNS says whether a namespace is mounted at a path.
func isNetNS(path string) (bool, error) {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && st.Type == unix.NSFS_MAGIC, err
}

// detachNICs takes away all interfaces of an instance that has ended, and gives the
// host back its own.
func detachNICs(runDir string) error {
	nics, err := loadNICs(runDir)
	errs := []error{err}
	path := filepath.Join(runDir, pinFile)
	pinned, err := isNetNS(path)
	errs = append(errs, err)
	var ns *os.File
	if pinned {
		if ns, err = os.Open(path); err != nil {
			return errors.Join(append(errs, err)...) // what is in it would be lost
		}
	}
	for _, n := range nics {
		errs = append(errs, network.Detach(n, ns))
	}
	if ns != nil {
		errs = append(errs, ns.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return unpin(runDir)
}

// unpin lets the network namespace go.
func unpin(runDir string) error {
	path := filepath.Join(runDir, pinFile)
	if mounted, err := isNetNS(path); err != nil {
		return err
	} else if mounted {
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("cannot let the instance's network namespace go: %w", err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// NetworkFiles are those of a run directory that are replaced when the interfaces or the
// proxy devices of an instance change.
func NetworkFiles(runDir string) []string {
	return []string{filepath.Join(runDir, nicsFile), filepath.Join(runDir, proxiesFile)}
}

// NICs are the interfaces that the instance was given.
func (i *Instance) NICs() ([]network.NIC, error) { return loadNICs(i.dir) }

// AttachNIC gives the running instance another interface. The caller keeps others
// from changing those of the instance at the same time.
func (i *Instance) AttachNIC(ctx context.Context, n network.NIC) error {
	had, err := i.NICs()
	if err != nil {
		return err
	}
	for _, h := range had {
		if h.Device == n.Device || h.Name == n.Name {
			return fmt.Errorf("cannot attach %s: device %s is there as %s", n.Device, h.Device, h.Name)
		}
	}
	if n, err = network.Prepare(n); err != nil {
		return err
	}
	// Before it is made: DetachNIC takes away what it knows of, made or not.
	if err := saveNICs(i.dir, append(slices.Clone(had), n)); err != nil {
		return err
	}
	if n.Kind == network.Physical {
		err = i.pin()
	}
	if err == nil {
		err = network.Attach(ctx, n, i.state.InitPID)
	}
	if err != nil {
		return errors.Join(err, saveNICs(i.dir, had))
	}
	return nil
}

func (i *Instance) pin() error {
	host, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		return fmt.Errorf("cannot open the mount namespace: %w", err)
	}
	err = pin(i.dir, i.state.InitPID, int(host.Fd()))
	return errors.Join(err, host.Close())
}

// DetachNIC takes the interface of a device away from the running instance. That it
// has none is no error.
func (i *Instance) DetachNIC(device string) error {
	had, err := i.NICs()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(had, func(n network.NIC) bool { return n.Device == device })
	if at < 0 {
		return nil
	}
	if err := network.DetachFrom(had[at], i.state.InitPID); err != nil {
		return err
	}
	return saveNICs(i.dir, slices.Delete(slices.Clone(had), at, at+1))
}

// UpdateNIC changes the interface of a device of the running instance to be now, of
// which network.NIC.SameBut says that it can.
func (i *Instance) UpdateNIC(now network.NIC) error {
	had, err := i.NICs()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(had, func(n network.NIC) bool { return n.Device == now.Device })
	if at < 0 {
		return fmt.Errorf("the instance has no interface of device %s", now.Device)
	}
	with := slices.Clone(had)
	now.Was = had[at].Was
	with[at] = now
	if err := saveNICs(i.dir, with); err != nil {
		return err
	}
	if err := network.Update(had[at], now, i.state.InitPID); err != nil {
		return errors.Join(err, saveNICs(i.dir, had))
	}
	return nil
}

// MoveNIC moves the interface with a hardware address, when its network has changed.
// A part of it, or all, may have been done before. That the instance has none is no
// error.
func (i *Instance) MoveNIC(hwaddr string, from, to network.Place) error {
	had, err := i.NICs()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(had, func(n network.NIC) bool { return strings.EqualFold(n.HWAddr, hwaddr) })
	if at < 0 {
		return nil
	}
	now := slices.Clone(had)
	now[at] = had[at].Moved(to)
	if err := saveNICs(i.dir, now); err != nil {
		return err
	}
	return errors.Join(network.Readdress(i.state.InitPID, hwaddr, had[at].Own(from), had[at].Own(to)), now[at].Rule())
}
