package state

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// Remote is a remote that the user added, or one that was there from the start as the user changed it.
type Remote struct {
	Name         string   `json:"name"`
	URL          string   `json:"url"`
	Protocol     string   `json:"protocol"`
	Public       bool     `json:"public"`
	InsecureHTTP bool     `json:"insecure_http,omitempty"`
	Mirrors      []string `json:"mirrors,omitempty"` // further URLs, the preferred first
	Keyring      []byte   `json:"keyring,omitempty"` // OpenPGP keys; the user's file may go
}

// Remotes is what the user changed of the list of remotes: the default ones themselves are not stored.
type Remotes struct {
	Added   []Remote `json:"added"`             // in the order in which they were added
	Removed []string `json:"removed"`           // names of default remotes that are not wanted
	Default string   `json:"default,omitempty"` // what a reference without a remote means; "" for the pools' own images
}

// Put appends a remote, or takes the place of the one of that name. Whether the name may be taken is the caller's business.
func (r *Remotes) Put(added Remote) {
	if i := slices.IndexFunc(r.Added, func(have Remote) bool { return have.Name == added.Name }); i >= 0 {
		r.Added[i] = added
		return
	}
	r.Added = append(r.Added, added)
}

// Remove forgets the remote that was added under name; builtin says that there is a default one of that name, which is
// then marked as not wanted.
func (r *Remotes) Remove(name string, builtin bool) {
	r.Added = slices.DeleteFunc(r.Added, func(have Remote) bool { return have.Name == name })
	if builtin && !slices.Contains(r.Removed, name) {
		r.Removed = append(r.Removed, name)
	}
}

// Rename gives a remote that was added the name to; builtin says that there is a default one of its old name, which is then
// marked as not wanted.
func (r *Remotes) Rename(name, to string, builtin bool) {
	if i := slices.IndexFunc(r.Added, func(have Remote) bool { return have.Name == name }); i >= 0 {
		r.Added[i].Name = to
	}
	if builtin && !slices.Contains(r.Removed, name) {
		r.Removed = append(r.Removed, name)
	}
}

func (d *Dir) remotesFile() string { return filepath.Join(d.Root, "remotes.json") }

// LoadRemotes reads the user's changes to the list of remotes: none as long as nothing was saved.
func (d *Dir) LoadRemotes() (Remotes, error) {
	var r Remotes
	if err := LoadJSON(d.remotesFile(), &r); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Remotes{}, fmt.Errorf("cannot load the remotes: %w", err)
	}
	return r, nil
}

// SaveRemotes replaces the user's changes to the list of remotes.
func (d *Dir) SaveRemotes(r Remotes) error {
	if err := SaveJSON(d.remotesFile(), r); err != nil {
		return fmt.Errorf("cannot save the remotes: %w", err)
	}
	return nil
}
