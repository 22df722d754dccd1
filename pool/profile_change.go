package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// opProfile is the operation of an intent to change a profile that instances use.
const opProfile = "profile-change"

// profileChange is that intent.
type profileChange struct {
	From      state.Profile `json:"from"`
	To        state.Profile `json:"to"` // of the same name
	Instances []string      `json:"instances"`
}

// UpdateProfile changes a profile: change is given it as it is. Keys and devices
// that are changed are validated, a key with "" is unset. All instances that use the
// profile have the change at once, those that run too; where one of them cannot take
// it, nothing is changed at all. Instances of detached pools have it when they are
// used next.
//
// Order: an intent, what running instances get, the records of the instances, the
// profile (the commit). Killed before that, the next command takes all back.
func (s *System) UpdateProfile(ctx context.Context, name string, change func(*ProfilePut) error) (err error) {
	if _, err := s.profile(name); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot change profile %s: %w", name, err)
		}
	}()
	users, release, err := s.lockUsers(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	from, err := s.profile(name)
	if err != nil {
		return err
	}
	put := putOfProfile(from)
	if err := change(&put); err != nil {
		return err
	}
	to := state.Profile{Name: name, Description: put.Description, Config: withoutEmpty(put.Config), Devices: cloneDevices(put.Devices)}
	if to.Config == nil {
		to.Config = map[string]string{}
	}
	withoutKeep(to.Config)
	if err := s.checkProfileChange(from, to); err != nil {
		return err
	}
	if reflect.DeepEqual(from, to) {
		return nil
	}
	return s.applyProfile(ctx, from, to, users)
}

// checkProfileChange validates what a change of a profile changes. What stays is not
// looked at: it may have come with an adopted pool.
func (s *System) checkProfileChange(from, to state.Profile) error {
	if err := checkChangedConfig(from.Config, to.Config); err != nil {
		return err
	}
	for k := range to.Config {
		if _, had := from.Config[k]; !had && isVolatile(k) {
			return fmt.Errorf("%s is of one instance, and none for a profile", k)
		}
	}
	for _, n := range changedDevices(from.Devices, to.Devices) {
		dev, there := to.Devices[n]
		if !there {
			continue
		}
		if err := errors.Join(checkDeviceName(n), s.checkDevice(n, dev)); err != nil {
			return err
		}
	}
	return nil
}

// instead finds profiles, p in place of the one of its name.
func (s *System) instead(p state.Profile) func(name string) (state.Profile, error) {
	return func(name string) (state.Profile, error) {
		if name == p.Name {
			return p, nil
		}
		return s.profile(name)
	}
}

// applyProfile changes a profile with all its users, or nothing.
func (s *System) applyProfile(ctx context.Context, from, to state.Profile, users []*lockedInstance) (err error) {
	unlock, err := s.lockClaims(ctx, from.Devices, to.Devices)
	if err != nil {
		return err
	}
	defer unlock()
	transitions, err := s.plannedProfile(ctx, to, users)
	if err != nil {
		return err
	}
	if len(transitions) > 0 {
		intent := profileChange{From: from, To: to}
		for _, t := range transitions {
			intent.Instances = append(intent.Instances, t.in.rec.Name)
		}
		entry, err := journal.Begin(ctx, s.journalDir(), opProfile, intent)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, entry.Done()) }()
	}
	undo, err := s.applyToUsers(ctx, from, to, transitions)
	if err != nil {
		return err
	}
	crash.Point("pool.profile.applied")
	if err := s.exchangeProfile(ctx, from, to); err != nil {
		return errors.Join(err, undo(context.WithoutCancel(ctx)))
	}
	crash.Point("pool.profile.saved")
	return nil
}

// plannedProfile is what a changed profile makes of its users, once it was checked.
func (s *System) plannedProfile(ctx context.Context, to state.Profile, users []*lockedInstance) ([]transition, error) {
	var out []transition
	for _, in := range users {
		t := transition{in: in, was: in.rec}
		err := s.reexpand(&t.was)
		t.now = t.was
		if err == nil {
			err = reexpandWith(s.instead(to), &t.now)
		}
		if errors.Is(err, ErrNotFound) { // another profile of its is not here
			s.noticef("%s stays as it is: %s", in.rec.Name, err)
			continue
		}
		if err == nil {
			err = s.checkDevices(ctx, in, t.was, t.now)
		}
		if err != nil {
			return nil, fmt.Errorf("instance %s: %w", in.rec.Name, err)
		}
		out = append(out, t)
	}
	return out, nil
}

// applyToUsers makes a change effective in instances that run, and has all records
// say it.
func (s *System) applyToUsers(ctx context.Context, from, to state.Profile, transitions []transition) (undo func(context.Context) error, err error) {
	var undos []func(context.Context) error
	undo = func(ctx context.Context) error {
		var errs []error
		for _, u := range slices.Backward(undos) {
			errs = append(errs, u(ctx))
		}
		return errors.Join(errs...)
	}
	for _, t := range transitions {
		name := t.in.rec.Name
		back, err := s.takeEffect(ctx, t)
		if err == nil {
			undos = append(undos, back)
			crash.Point("pool.profile.plugged")
			_, err = t.in.UpdateInstance(name, func(r *tree.Instance) error {
				changeIdentity(r, t.was.ExpandedDevices, t.now.ExpandedDevices)
				return reexpandWith(s.instead(to), r)
			})
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("instance %s: %w", name, err), undo(context.WithoutCancel(ctx)))
		}
		undos = append(undos, func(context.Context) error {
			_, err := t.in.UpdateInstance(name, func(r *tree.Instance) error {
				dropIdentity(r, t.now.ExpandedDevices, t.was.ExpandedDevices)
				return reexpandWith(s.instead(from), r)
			})
			return err
		})
	}
	return undo, nil
}

// exchangeProfile saves a profile in place of what it was.
func (s *System) exchangeProfile(ctx context.Context, from, to state.Profile) error {
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	have, err := s.profile(to.Name)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(have, from) { // a pool or a network was deleted, or a pool adopted
		return withHint(errors.New("somebody else has changed it meanwhile"), "try it once more")
	}
	return s.dir.SaveProfile(to)
}

// recoverProfile has the users of a profile be what it says now, before or after a
// change of which a killed command had done some.
func (s *System) recoverProfile(ctx context.Context, e *journal.Entry) error {
	var change profileChange
	if err := e.Args(&change); err != nil {
		return err
	}
	var errs []error
	for _, name := range change.Instances {
		if err := s.recoverUser(ctx, name, change); err != nil {
			errs = append(errs, fmt.Errorf("cannot give %s what profile %s says: %w", name, change.To.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *System) recoverUser(ctx context.Context, name string, change profileChange) (err error) {
	in, err := s.lockInstance(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return nil // deleted meanwhile
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if in.rec.Broken != nil || !slices.Contains(in.rec.Profiles, change.To.Name) {
		return nil
	}
	from, to := in.rec, in.rec
	if err := errors.Join(s.reexpand(&in.rec), reexpandWith(s.instead(change.From), &from), reexpandWith(s.instead(change.To), &to)); err != nil {
		return err
	}
	if err := s.settleLive(ctx, in, expandedOf(from), expandedOf(to)); err != nil {
		return err
	}
	_, err = in.UpdateInstance(name, func(r *tree.Instance) error {
		for _, other := range []tree.Instance{from, to} {
			dropIdentity(r, other.ExpandedDevices, in.rec.ExpandedDevices)
		}
		return s.reexpand(r)
	})
	return err
}

// ReplaceProfile puts now in the place of what was read as was, which it must still be.
func (s *System) ReplaceProfile(ctx context.Context, name string, was, now ProfilePut) error {
	return s.UpdateProfile(ctx, name, func(put *ProfilePut) error {
		if put.Description != was.Description || !maps.Equal(put.Config, was.Config) || len(changedDevices(put.Devices, was.Devices)) > 0 {
			return withHint(errors.New("somebody else has changed it meanwhile"), "poolctl profile edit %s shows how it is now", name)
		}
		*put = now
		return nil
	})
}

// SetProfileConfig changes keys of a profile's configuration; a key with "" is unset.
// See UpdateProfile.
func (s *System) SetProfileConfig(ctx context.Context, name string, values map[string]string) error {
	return s.UpdateProfile(ctx, name, func(put *ProfilePut) error {
		maps.Copy(put.Config, values)
		return nil
	})
}
