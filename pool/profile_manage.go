package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// ProfilePut is what can be changed of a profile, in incus's fields and order.
type ProfilePut struct {
	Config      map[string]string            `json:"config" yaml:"config"`
	Description string                       `json:"description" yaml:"description"`
	Devices     map[string]map[string]string `json:"devices" yaml:"devices"`
}

// Profile is a profile as `profile show` prints it: incus's fields in their order.
type Profile struct {
	Config      map[string]string            `json:"config" yaml:"config"`
	Description string                       `json:"description" yaml:"description"`
	Devices     map[string]map[string]string `json:"devices" yaml:"devices"`
	Name        string                       `json:"name" yaml:"name"`
	UsedBy      []string                     `json:"used_by" yaml:"used_by"`
	Project     string                       `json:"project" yaml:"project"` // default
}

func putOfProfile(p state.Profile) ProfilePut {
	return ProfilePut{Config: cloneOrEmpty(p.Config), Description: p.Description, Devices: cloneDevices(p.Devices)}
}

// Put is what can be changed of the profile, as it is now.
func (p Profile) Put() ProfilePut {
	return ProfilePut{Config: p.Config, Description: p.Description, Devices: p.Devices}
}

// Profiles lists the profiles, sorted by name; "default" is always among them.
func (s *System) Profiles(ctx context.Context) ([]Profile, error) {
	all, err := s.profiles()
	if err != nil {
		return nil, err
	}
	instances, err := s.records(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Profile, 0, len(all))
	for _, p := range all {
		out = append(out, publicProfile(p, instances))
	}
	return out, nil
}

// Profile shows one profile.
func (s *System) Profile(ctx context.Context, name string) (Profile, error) {
	p, err := s.profile(name)
	if err != nil {
		return Profile{}, err
	}
	instances, err := s.records(ctx)
	return publicProfile(p, instances), err
}

func publicProfile(p state.Profile, instances []tree.Instance) Profile {
	put := putOfProfile(p)
	out := Profile{Config: put.Config, Description: put.Description, Devices: put.Devices, Name: p.Name, UsedBy: []string{}, Project: "default"}
	for _, in := range instances {
		if slices.Contains(in.Profiles, p.Name) {
			out.UsedBy = append(out.UsedBy, "/1.0/instances/"+in.Name)
		}
	}
	slices.Sort(out.UsedBy)
	return out
}

// CreateProfile makes a profile.
func (s *System) CreateProfile(ctx context.Context, name string, put ProfilePut) error {
	p := state.Profile{Name: name, Description: put.Description, Config: withoutEmpty(cloneOrEmpty(put.Config)), Devices: cloneDevices(put.Devices)}
	withoutKeep(p.Config)
	err := state.ValidateName("profile", name)
	if err == nil {
		err = s.checkProfileChange(state.Profile{}, p)
	}
	if err == nil {
		err = s.addProfile(ctx, p)
	}
	if err != nil {
		return fmt.Errorf("cannot create profile %s: %w", shellWord(name), err)
	}
	return nil
}

// addProfile saves a new profile.
func (s *System) addProfile(ctx context.Context, p state.Profile) error {
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.profile(p.Name); err == nil {
		return ErrExists
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	return s.dir.SaveProfile(p)
}

// CopyProfile makes a profile that says what another one says; with refresh one that
// is there is changed to that.
func (s *System) CopyProfile(ctx context.Context, from, to string, refresh bool) error {
	source, err := s.profile(from)
	if err != nil {
		return err
	}
	err = s.CreateProfile(ctx, to, putOfProfile(source))
	if refresh && errors.Is(err, ErrExists) {
		return s.UpdateProfile(ctx, to, func(put *ProfilePut) error {
			*put = putOfProfile(source)
			return nil
		})
	}
	return err
}

// DeleteProfile deletes a profile that no instance uses.
func (s *System) DeleteProfile(ctx context.Context, name string) (err error) {
	if err := s.checkNotDefault("delete", name); err != nil {
		return err
	}
	users, release, err := s.lockUsers(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := s.checkUnusedProfile(ctx, name, users); err != nil {
		return fmt.Errorf("cannot delete profile %s: %w", name, err)
	}
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	err = s.dir.DeleteProfile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot find profile %q: %w", name, ErrNotFound)
	}
	return err
}

// checkNotDefault refuses what the default profile does not suffer, and a profile
// that is not there.
func (s *System) checkNotDefault(verb, name string) error {
	if name == defaultProfile {
		return fmt.Errorf("cannot %s profile %s: it is always there, and new instances get it", verb, name)
	}
	_, err := s.profile(name)
	return err
}

// opRenameProfile is the operation of an intent to rename a profile.
const opRenameProfile = "profile-rename"

// profileRename is that intent.
type profileRename struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// RenameProfile gives a profile another name, which the instances that use it then
// name it by, and their snapshots.
//
// Order: an intent, the profile under its new name (the commit), the records of the
// instances, then the old one goes.
func (s *System) RenameProfile(ctx context.Context, from, to string) (err error) {
	if err := s.checkNotDefault("rename", from); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot rename profile %s to %s: %w", from, shellWord(to), err)
		}
	}()
	if err := state.ValidateName("profile", to); err != nil {
		return err
	}
	users, release, err := s.lockUsers(ctx, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	p, err := s.profile(from)
	if err != nil {
		return err
	}
	if err := s.checkUnusedProfile(ctx, from, nil); err != nil { // in a detached pool, whose instances cannot follow
		return err
	}
	if _, err := s.profile(to); err == nil {
		return ErrExists
	}
	entry, err := journal.Begin(ctx, s.journalDir(), opRenameProfile, profileRename{from, to})
	if err != nil {
		return err
	}
	p.Name = to
	if err := s.addProfile(ctx, p); err != nil {
		return errors.Join(err, entry.Done())
	}
	crash.Point("pool.profile.renamed")
	if err := s.followProfile(context.WithoutCancel(ctx), from, to, users); err != nil {
		return errors.Join(err, entry.Close()) // the next command goes on
	}
	return entry.Done()
}

// followProfile has instances name a profile as it is called now, and removes the one
// of the old name.
func (s *System) followProfile(ctx context.Context, from, to string, users []*lockedInstance) error {
	rename := func(names []string) bool {
		i := slices.Index(names, from)
		if i >= 0 {
			names[i] = to
		}
		return i >= 0
	}
	for _, in := range users {
		err := in.AdaptInstance(in.rec.Name, func(r *tree.Instance) (bool, error) {
			for i := range r.Snapshots {
				rename(r.Snapshots[i].Profiles)
			}
			return rename(r.Profiles), s.reexpandKnown(r)
		})
		if err != nil {
			return err
		}
		crash.Point("pool.profile.followed")
	}
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return ignoreNotExist(s.dir.DeleteProfile(from))
}

// recoverProfileRename finishes a renaming that came to its commit.
func (s *System) recoverProfileRename(ctx context.Context, e *journal.Entry) (err error) {
	var in profileRename
	if err := e.Args(&in); err != nil {
		return err
	}
	to, err := s.profile(in.To)
	if errors.Is(err, ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	from, err := s.profile(in.From)
	if from.Name = to.Name; err == nil && !reflect.DeepEqual(from, to) {
		return nil // another profile of that name
	} else if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	users, release, err := s.lockUsers(ctx, in.From)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	return s.followProfile(ctx, in.From, in.To, users)
}

// isVolatile says whether a key is one that belongs to an instance's state.
func isVolatile(key string) bool { return strings.HasPrefix(key, volatilePrefix) }
