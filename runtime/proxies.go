package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/cgroup"
	"poolctl/runtime/proxy"
	"poolctl/runtime/wait"
)

// proxiesFile is the file of a run directory that lists the proxy devices, with their
// processes. A reboot takes them from there. Whoever changes it has a lock.
const (
	proxiesFile = "proxies.json"
	proxiesLock = "proxies.lock"
)

// liveProxy is a proxy device of an instance that runs.
type liveProxy struct {
	Device proxy.Device `json:"device"`
	// PID and Start identify its process, as in a state; 0 as long as there is none.
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"starttime,omitempty"`
	// File is the socket that was made for it.
	File *proxy.File `json:"file,omitempty"`
	// Told is why it could not be started again, which is logged once and not every
	// time.
	Told string `json:"told,omitempty"`
}

// proxiesTime bounds how long the processes of all devices are waited for.
const proxiesTime = 20 * time.Second

// lockProxies keeps others from changing the proxy devices of an instance.
func lockProxies(ctx context.Context, runDir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(runDir, proxiesLock), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the proxy devices: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // it is only locked
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("cannot lock the proxy devices: %w", err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("cannot lock the proxy devices: %w", ctx.Err()), f.Close())
		case <-time.After(lockPoll):
		}
	}
}

// saveProxies also tells the process that waits which ones to look after.
func saveProxies(runDir string, list []liveProxy) error {
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	var pids strings.Builder
	for _, p := range list {
		if p.Device.NAT {
			continue // it has none
		}
		line := strconv.Itoa(p.PID)
		if p.Device.Inside && p.File != nil {
			line += wait.LookAfterBoot
		}
		pids.WriteString(line + "\n")
	}
	err = writeAtomic(filepath.Join(runDir, proxiesFile), data)
	if err == nil {
		err = writeAtomic(filepath.Join(runDir, wait.ProxiesFile), []byte(pids.String()))
	}
	if err != nil {
		return fmt.Errorf("cannot save the proxy devices: %w", err)
	}
	return nil
}

func loadProxies(runDir string) ([]liveProxy, error) {
	f, err := os.Open(filepath.Join(runDir, proxiesFile))
	var list []liveProxy
	if errors.Is(err, os.ErrNotExist) { // started by a version that had none, or about to be
		return nil, nil
	}
	if err == nil {
		err = decodeLimited(f, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the proxy devices: %w", err)
	}
	return list, nil
}

// newProxies are proxy devices as they are before a start.
func newProxies(devices []proxy.Device) []liveProxy {
	list := []liveProxy{}
	for _, d := range devices {
		list = append(list, liveProxy{Device: d})
	}
	return list
}

// validateProxies refuses devices that cannot work, or not together.
func validateProxies(devices []proxy.Device) error {
	for i, d := range devices {
		if err := d.Validate(); err != nil {
			return fmt.Errorf("device %s: %w", d.Name, err)
		}
		for _, other := range devices[:i] {
			if what, yes := d.Listen.Overlaps(other.Listen); yes && d.Inside == other.Inside {
				return fmt.Errorf("devices %s and %s both listen on %s", other.Name, d.Name, what)
			}
		}
	}
	return nil
}

// open returns a pidfd of the process, or ErrNotRunning.
func (p liveProxy) open() (int, error) {
	boot, err := bootID()
	if err != nil {
		return -1, err
	}
	return state{InitPID: p.PID, InitStart: p.Start, BootID: boot}.openInit()
}

// end ends the process and removes its socket from where that is. inside is nil once
// the instance has ended.
func (p *liveProxy) end(host proxy.Side, inside *proxy.Side) error {
	fd, err := p.open()
	switch {
	case err == nil:
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // it may have ended just now
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err = waitEnd(ctx, fd)
		cancel()
		err = errors.Join(err, unix.Close(fd))
	case errors.Is(err, ErrNotRunning):
		err = nil
	}
	if p.PID > 0 {
		_, _ = unix.Wait4(p.PID, nil, unix.WNOHANG, nil) // a child, or somebody else's
	}
	if err != nil {
		return fmt.Errorf("cannot end device %s: %w", p.Device.Name, err)
	}
	if p.File != nil && (!p.Device.Inside || inside != nil) {
		side := host
		if p.Device.Inside {
			side = *inside
		}
		if err := proxy.RemoveFile(*p.File, side); err != nil {
			return fmt.Errorf("cannot remove the socket of device %s: %w", p.Device.Name, err)
		}
	}
	p.PID, p.Start, p.File = 0, 0, nil
	return nil
}

// hostSide is where the supervisor is, or this process if that is not there.
func hostSide(st state) (proxy.Side, func(), error) {
	fd := -1
	err := error(unix.ESRCH)
	if st.SupervisorPID > 0 {
		fd, err = unix.PidfdOpen(st.SupervisorPID, 0)
	}
	if err != nil {
		fd, err = unix.PidfdOpen(os.Getpid(), 0)
	}
	if err != nil {
		return proxy.Side{}, nil, fmt.Errorf("cannot open process %d: %w", os.Getpid(), err)
	}
	return proxy.Side{PIDFD: fd}, func() { _ = unix.Close(fd) }, nil
}

// endProxies ends the processes of all devices of an instance that has ended; the
// devices stay.
func endProxies(ctx context.Context, runDir string) error {
	if _, err := os.Lstat(filepath.Join(runDir, proxiesFile)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := lockProxies(ctx, runDir)
	if err != nil {
		return err
	}
	defer unlock()
	list, err := loadProxies(runDir)
	if err != nil || len(list) == 0 {
		return err
	}
	host, done, err := hostSide(state{})
	if err != nil {
		return err
	}
	defer done()
	var errs []error
	if hasNAT(list) {
		errs = append(errs, applyNAT(runDir, nil))
	}
	for i := range list {
		errs = append(errs, list[i].end(host, nil))
	}
	return errors.Join(append(errs, saveProxies(runDir, list))...)
}

// starter starts the processes of proxy devices of one running instance.
type starter struct {
	name, runDir, log string
	state             state
	host, inside      proxy.Side
}

// newStarter is for the instance whose init the pidfd is.
func newStarter(spec Spec, runDir string, st state, pidfd int) (*starter, func(), error) {
	host, done, err := hostSide(st)
	if err != nil {
		return nil, nil, err
	}
	inside := proxy.Side{PIDFD: pidfd, Instance: true, Privileged: st.Privileged}
	return &starter{spec.Name, runDir, spec.LogFile, st, host, inside}, done, nil
}

// start starts the process of list[i] and records it.
func (s *starter) start(ctx context.Context, list []liveProxy, i int) (err error) {
	p := &list[i]
	if p.Device.NAT {
		return applyNAT(s.runDir, list)
	}
	was := *p
	defer func() {
		if err != nil {
			err = fmt.Errorf("device %s: %w", was.Device.Name, err)
		}
	}()
	log, err := openLog(s.log)
	if err != nil {
		return fmt.Errorf("cannot open the instance's log: %w", err)
	}
	defer func() { _ = log.Close() }() // the process has it
	started, err := proxy.Start(ctx, s.name, p.Device, s.host, s.inside, log)
	if err != nil {
		return err
	}
	from, _ := p.Device.Sides(s.host, s.inside)
	p.PID, p.File, p.Told = started.PID, started.File, ""
	p.Start, err = startTime(started.PID)
	if err == nil {
		err = s.leaveCaller(started.PID)
	}
	if err == nil {
		err = saveProxies(s.runDir, list)
	}
	if err != nil {
		*p = was
		return errors.Join(err, started.Cancel(from), saveProxies(s.runDir, list))
	}
	return started.Release()
}

// leaveCaller moves a process out of the cgroup of who started it, as enterMonitor does.
func (s *starter) leaveCaller(pid int) error {
	layout, err := cgroup.Detect()
	if err != nil {
		return err
	}
	tracked, err := layout.Tracking().Tracked()
	if err != nil || !tracked {
		return err
	}
	g, err := layout.Tracking().Group(s.state.Cgroup + monitorSuffix)
	if err != nil {
		return err
	}
	if err := g.Create(0, 0); err != nil {
		return err
	}
	return g.EnterPID(pid)
}

// startProxies starts the proxy devices of an instance that has booted just now.
func (s *supervisor) startProxies(ctx context.Context, pidfd int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, proxiesTime)
	defer cancel()
	list, err := loadProxies(s.spec.RunDir)
	if err != nil || len(list) == 0 {
		return err
	}
	unlock, err := lockProxies(ctx, s.spec.RunDir)
	if err != nil {
		return err
	}
	defer unlock()
	if list, err = loadProxies(s.spec.RunDir); err != nil {
		return err
	}
	st, done, err := newStarter(s.spec, s.spec.RunDir, s.state, pidfd)
	if err != nil {
		return err
	}
	defer done()
	var errs []error
	for i := range list {
		if err := st.start(ctx, list, i); err != nil {
			list[i].Told = err.Error()
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
