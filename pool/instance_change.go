package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/tree"
)

// changeInstance changes what the user says of an instance: its configuration,
// devices, profiles and description. Everything is checked first, then made
// effective in an instance that runs, and then recorded; an error leaves, or
// brings back, what was. what names it in errors.
func (s *System) changeInstance(ctx context.Context, what, instance string, change func(in *tree.Instance) error) (err error) {
	if name, snap, is := strings.Cut(instance, "/"); is {
		return withHint(fmt.Errorf("cannot change %s%s: a snapshot keeps what was when it was made, but for when it expires", what, instance),
			"poolctl copy %[1]s/%[2]s NEW makes an instance of it, which can be changed; poolctl config set %[1]s/%[2]s --property expires_at=4w", name, snap)
	}
	in, err := s.lockInstance(ctx, instance)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, in.close()); err != nil {
			err = fmt.Errorf("cannot change %s%s: %w", what, instance, err)
		}
	}()
	if in.rec.Broken != nil {
		return in.rec.Broken
	}
	unlock, err := s.dir.LockProfiles(ctx, true)
	if err != nil {
		return err
	}
	defer unlock()
	t, err := s.plannedChange(ctx, in, change)
	if err != nil {
		return err
	}
	unlockClaims, err := s.lockClaims(ctx, t.was.ExpandedDevices, t.now.ExpandedDevices)
	if err != nil {
		return err
	}
	defer unlockClaims()
	if err := s.checkDevices(ctx, in, t.was, t.now); err != nil {
		return err
	}
	entry, err := s.beginChange(ctx, t)
	if err != nil {
		return err
	}
	if entry != nil {
		defer func() { err = errors.Join(err, entry.Done()) }()
	}
	undo, err := s.takeEffect(ctx, t)
	if err != nil {
		return err
	}
	crash.Point("pool.instance.applied")
	err = s.withRoom(ctx, in.openedPool, "the change", func() error {
		_, err := in.UpdateInstance(instance, t.record(s))
		return err
	})
	if err != nil {
		return errors.Join(s.hintFull(in.openedPool.rec, err), undo(context.WithoutCancel(ctx)))
	}
	return nil
}

// transition is a locked instance on its way from one record to another, both
// with their expansion.
type transition struct {
	in       *lockedInstance
	was, now tree.Instance
}

// plannedChange is what change makes of an instance, of which the devices are still to be checked.
func (s *System) plannedChange(ctx context.Context, in *lockedInstance, change func(in *tree.Instance) error) (transition, error) {
	t := transition{in: in, was: in.rec}
	if err := s.reexpand(&t.was); err != nil && t.was.ExpandedDevices == nil {
		return t, err
	} // else one of its profiles is gone, which the change may be the cure of
	t.now = t.was
	t.now.Config, t.now.Devices = maps.Clone(t.was.Config), cloneDevices(t.was.Devices)
	t.now.Profiles = slices.Clone(t.was.Profiles)
	if err := change(&t.now); err != nil {
		return t, err
	}
	maps.DeleteFunc(t.now.Config, func(_, v string) bool { return v == "" })
	withoutKeep(t.now.Config)
	if err := s.reexpand(&t.now); err != nil {
		return t, err
	}
	return t, checkChangedConfig(t.was.Config, t.now.Config)
}

// checkChangedConfig validates the keys that a change changes. Those that stay
// are not looked at: an adopted instance may have some that poolctl does not know.
func checkChangedConfig(was, now map[string]string) error {
	changed := map[string]string{}
	for _, k := range changedKeys(was, now) {
		v, set := now[k]
		if _, err := findInstanceKey(k); err != nil && !set {
			continue
		}
		if slices.Contains(ownKeys, k) {
			return fmt.Errorf("%s says what is on the disk, and cannot be changed", k)
		}
		changed[k] = v
	}
	return checkInstanceConfig(changed)
}

// ownKeys are those that only poolctl itself changes.
var ownKeys = []string{"volatile.last_state.idmap", "volatile.idmap.base", "volatile.apply_template", powerKey}

// changedKeys names the keys of which the value differs, sorted.
func changedKeys(was, now map[string]string) []string {
	var out []string
	for k, v := range was {
		if w, still := now[k]; !still || w != v {
			out = append(out, k)
		}
	}
	for k := range now {
		if _, had := was[k]; !had {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// record puts the change into the instance's record. What else is in there by now,
// such as a hardware address that an added nic got, stays.
func (t transition) record(s *System) func(r *tree.Instance) error {
	return func(r *tree.Instance) error {
		t.put(r)
		return s.reexpand(r)
	}
}

// put is record with the expansion that was planned.
func (t transition) put(r *tree.Instance) {
	for _, k := range changedKeys(t.was.Config, t.now.Config) {
		if v, set := t.now.Config[k]; set {
			r.Config[k] = v
		} else {
			delete(r.Config, k)
		}
	}
	changeIdentity(r, t.was.ExpandedDevices, t.now.ExpandedDevices)
	if key := "volatile.cloud-init.instance-id"; r.Config[key] != "" && slices.ContainsFunc(changedKeys(t.was.ExpandedConfig, t.now.ExpandedConfig), isCloudInit) {
		r.Config[key] = newUUID() // as in LXD: cloud-init does its work again
	}
	r.Devices, r.Profiles, r.Description, r.Ephemeral = t.now.Devices, t.now.Profiles, t.now.Description, t.now.Ephemeral
	r.ExpandedConfig, r.ExpandedDevices = t.now.ExpandedConfig, t.now.ExpandedDevices
}

// sameDevices says whether the transition leaves all devices as they are.
func (t transition) sameDevices() bool {
	return reflect.DeepEqual(t.was.ExpandedDevices, t.now.ExpandedDevices)
}

// takeEffect makes a transition effective before it is recorded, and returns how
// to take it back. Of an instance that does not run, only a limit of the root disk
// has to be.
func (s *System) takeEffect(ctx context.Context, t transition) (undo func(context.Context) error, err error) {
	unset, err := s.applyConfig(ctx, t.in, t.was.ExpandedConfig, t.now.ExpandedConfig)
	if err != nil {
		return nil, err
	}
	if t.sameDevices() && !maps.Equal(t.was.ExpandedConfig, t.now.ExpandedConfig) {
		return unset, nil
	}
	unplug, err := s.applyDevices(ctx, t.in, t.was, t.now)
	if err != nil {
		return nil, errors.Join(err, unset(context.WithoutCancel(ctx)))
	}
	return func(ctx context.Context) error { return errors.Join(unplug(ctx), unset(ctx)) }, nil
}

// applyConfig makes a change of the expanded configuration effective in a running
// instance, and returns how to take it back. When one key cannot be changed, those
// before it are changed back.
func (s *System) applyConfig(ctx context.Context, in *lockedInstance, from, to map[string]string) (undo func(context.Context) error, err error) {
	var steps undoSteps
	if !s.isRunning(in.rec.Name) {
		return steps.run, nil
	}
	for _, name := range changedKeys(from, to) {
		k, err := findInstanceKey(name)
		if err != nil || k.apply == nil {
			continue // one that poolctl does not know has no effect
		}
		if err := k.apply(ctx, s, in, from, to); err != nil {
			return nil, steps.failed(ctx, fmt.Errorf("%s: %w", name, err))
		}
		steps.add(func(ctx context.Context) error { return k.apply(ctx, s, in, to, from) })
	}
	return steps.run, nil
}

// beginChange notes a change that takes effect before it is recorded; nil while
// the instance is stopped.
func (s *System) beginChange(ctx context.Context, t transition) (*journal.Entry, error) {
	if !s.isRunning(t.in.rec.Name) || t.sameDevices() && maps.Equal(t.was.ExpandedConfig, t.now.ExpandedConfig) {
		return nil, nil
	}
	return journal.Begin(ctx, s.journalDir(), opChange, t.intent())
}

// isCloudInit says whether a key is one that cloud-init reads.
func isCloudInit(key string) bool {
	return strings.HasPrefix(key, "cloud-init.") || slices.Contains([]string{"user.user-data", "user.vendor-data", "user.network-config", "user.meta-data"}, key)
}
