package pool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"poolctl/pool/state"
)

// logSuffixes are those of the files that are kept of an instance's runs.
var logSuffixes = []string{".log", ".console.log", ".exit.json"}

// oldLog is behind the name of a log that was put aside because it was large.
const oldLog = ".old"

// logFile is where an instance's supervisor writes what went wrong.
func (s *System) logFile(name string) string { return filepath.Join(s.dir.Logs(), name+logSuffixes[0]) }

// consoleLog is where what an instance writes to its console is kept.
func (s *System) consoleLog(name string) string {
	return filepath.Join(s.dir.Logs(), name+logSuffixes[1])
}

// exitFile is where it is kept how an instance's last run has ended.
func (s *System) exitFile(name string) string {
	return filepath.Join(s.dir.Logs(), name+logSuffixes[2])
}

// logsOf are all files that are kept of an instance's runs, there or not, for each
// name in the same order.
func (s *System) logsOf(name string) []string {
	var out []string
	for _, log := range []string{s.logFile(name), s.consoleLog(name), s.exitFile(name)} {
		out = append(out, log, log+oldLog)
	}
	return out
}

// removeLogs removes what is kept of an instance's runs.
func (s *System) removeLogs(name string) error {
	var errs []error
	for _, log := range s.logsOf(name) {
		errs = append(errs, ignoreNotExist(os.Remove(log)))
	}
	return errors.Join(errs...)
}

// InstanceLog is what an instance's supervisor has written of what went wrong, as far as
// it is kept; "" when it has not.
func (s *System) InstanceLog(name string) (string, error) {
	var b bytes.Buffer
	for _, path := range []string{s.logFile(name) + oldLog, s.logFile(name)} {
		if err := ignoreNotExist(writeKept(&b, path)); err != nil {
			return "", fmt.Errorf("cannot show the log of %s: %w", name, err)
		}
	}
	return b.String(), nil
}

// loggedNames are the names of instances, there or not, that logs are kept of.
func (s *System) loggedNames() ([]string, error) {
	entries, err := os.ReadDir(s.dir.Logs())
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		file := strings.TrimSuffix(e.Name(), oldLog)
		// The longest first: a name has no dot.
		for _, suffix := range slices.Backward(logSuffixes) {
			if name, ok := strings.CutSuffix(file, suffix); ok && state.ValidateName("instance", name) == nil {
				names = append(names, name)
				break
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// leftBehind is what the state directory has of the instances in a pool that goes.
type leftBehind struct {
	Instances []string `json:"instances,omitempty"`
	// Reserved are the hardware addresses that networks have reserved addresses for,
	// with the bridges.
	Reserved map[string]string `json:"reserved,omitempty"`
}

// leavesBehind is that of an attached pool; of another one it is not known.
func (s *System) leavesBehind(ctx context.Context, rec state.PoolRecord) (left leftBehind, err error) {
	t, err := s.peek(rec)
	if err != nil || t == nil {
		return left, err
	}
	all, err := t.Instances(ctx)
	if err = errors.Join(err, t.Close()); err != nil {
		return left, err
	}
	left.Reserved = map[string]string{}
	for _, in := range all {
		left.Instances = append(left.Instances, in.Name)
		for _, name := range nicsOf(in.ExpandedDevices) {
			dev := in.ExpandedDevices[name]
			if hwaddr, on := nicHWAddr(in.Config, name, dev), nicBridge(dev); hwaddr != "" && on != "" {
				left.Reserved[hwaddr] = on
			}
		}
	}
	return left, nil
}

// dropLeftBehind removes it.
func (s *System) dropLeftBehind(left leftBehind) error {
	var errs []error
	for _, name := range left.Instances {
		errs = append(errs, s.removeLogs(name))
	}
	for hwaddr, bridge := range left.Reserved {
		errs = append(errs, s.releaseHWAddr(bridge, hwaddr))
	}
	return errors.Join(errs...)
}

// takeName is freeName for who has the name's lock by now: another process may have
// taken it meanwhile. Logs that were kept of an instance of that name, whose pool went
// without being looked into, are not the new one's.
func (s *System) takeName(ctx context.Context, name string) error {
	if _, err := s.freeName(ctx, name); err != nil {
		return err
	}
	return s.removeLogs(name)
}

// strayLogs tells of logs of instances that are nowhere. What is in a pool that is not
// attached is not known.
func (d *doctor) strayLogs(ctx context.Context, pools []string) {
	names, err := d.loggedNames()
	if err != nil {
		d.failed("logs", err)
		return
	}
	known := map[string]bool{}
	for _, n := range d.running {
		known[n] = true
	}
	if len(names) == 0 {
		return
	}
	for _, name := range pools {
		rec, err := d.dir.LoadPool(name)
		if err != nil {
			return // told of before
		}
		attached, err := d.isAttached(rec)
		if err != nil || !attached {
			return
		}
	}
	all, err := d.records(ctx)
	if err != nil {
		return // told of before
	}
	for _, in := range all {
		known[in.Name] = true
	}
	for _, name := range names {
		if known[name] {
			continue
		}
		d.add(Finding{
			Severity: SeverityNotice, Object: "logs of " + name, Problem: "there is no instance of that name",
			Remedy: "poolctl doctor --fix removes them, and so does a new instance of that name", does: "they were removed",
			fix: func(ctx context.Context) error { return d.removeStrayLogs(ctx, name) },
		})
	}
}

// removeStrayLogs removes the logs of an instance that is nowhere.
func (s *System) removeStrayLogs(ctx context.Context, name string) error {
	unlock, err := s.dir.LockInstance(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.takeName(ctx, name); err != nil && !errors.Is(err, ErrExists) { // made meanwhile
		return err
	}
	return nil
}
