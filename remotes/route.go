package remotes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// route is the way of one download over the mirrors of a remote.
type route struct {
	client *Client
	file   File

	at     *mirror // whose turn it is
	path   string  // of the file there
	left   []*mirror
	usable []*mirror // those that may still be asked in another round
	slow   []*mirror
	last   *mirror           // that was connected to before
	alone  bool              // all of the file is to come from one mirror
	causes map[*mirror]error // why each was left, the last time

	mu     sync.Mutex
	givers []*mirror // who sent a part of the file
}

// route begins with the first mirror that has not sent something else for the file before.
func (c *Client) route(f File) *route {
	liars, alone := c.trust.of(f.SHA256)
	all := slices.DeleteFunc(c.inOrder(), func(m *mirror) bool { return slices.Contains(liars, m) })
	if len(all) == 0 {
		all = c.inOrder()
	}
	return &route{client: c, file: f, at: all[0], path: f.Path, left: all[1:], usable: all, alone: alone, causes: map[*mirror]error{}}
}

// url names the file on the mirror whose turn it is, for errors.
func (r *route) url() string {
	if s, err := joinPath(r.at.base, r.path); err == nil {
		return s
	}
	return r.at.url + "/" + r.path
}

// gave notes that a mirror has sent a part of the file.
func (r *route) gave(m *mirror) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.givers, m) {
		r.givers = append(r.givers, m)
	}
}

// allGivers lists who sent a part of the file.
func (r *route) allGivers() []*mirror {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.givers)
}

// faster says whether there is a mirror to try in this round that has not been found slow.
func (r *route) faster() bool {
	return !r.alone && slices.ContainsFunc(r.left, func(m *mirror) bool { return !slices.Contains(r.slow, m) })
}

// next leaves the present mirror by a cause for the next of this round; it returns false when there is none.
func (r *route) next(cause error) bool {
	r.causes[r.at] = cause
	r.at.fail()
	switch {
	case errors.Is(cause, errSlow):
		r.slow = append(r.slow, r.at)
		r.left = append(r.left, r.at) // slow is better than nothing
	case !transient(cause):
		r.usable = slices.DeleteFunc(slices.Clone(r.usable), func(m *mirror) bool { return m == r.at })
	}
	if r.alone && len(r.allGivers()) > 0 {
		r.left = nil
		r.usable = slices.DeleteFunc(slices.Clone(r.usable), func(m *mirror) bool { return m != r.at })
	}
	if len(r.left) == 0 {
		return false
	}
	if len(r.client.mirrors) > 1 && r.left[0] != r.at {
		r.client.noticeLeft(r.at, r.left[0], fmt.Sprintf("%s is left for %s: %v", r.at.url, r.left[0].url, cause))
	}
	r.turn(r.left[0])
	r.left = r.left[1:]
	return true
}

// restart begins another round; it returns false when no mirror is worth it.
func (r *route) restart() bool {
	if len(r.usable) == 0 {
		return false
	}
	r.turn(r.usable[0])
	r.left = r.usable[1:]
	return true
}

func (r *route) turn(to *mirror) {
	if to != r.at {
		r.path = r.file.Path
	}
	r.at = to
}

// turned says, once after each change, whether another mirror is asked than the last time.
func (r *route) turned() bool {
	changed := r.last != r.at
	r.last = r.at
	return changed
}

// elsewhere looks for the file in the present mirror's own catalogue, and says whether it has it at another path.
func (r *route) elsewhere(ctx context.Context) bool {
	if len(r.client.mirrors) == 1 || r.path != r.file.Path {
		return false
	}
	path := r.client.pathOf(ctx, r.at, r.file.SHA256)
	if path == "" || path == r.path {
		return false
	}
	r.path = path
	return true
}

// why joins the causes for which the mirrors were left; that of the last one for a remote without mirrors.
func (r *route) why(last error) error {
	if len(r.client.mirrors) == 1 {
		return last
	}
	var all []error
	liars, _ := r.client.trust.of(r.file.SHA256)
	for _, m := range r.client.mirrors {
		if err := r.causes[m]; err != nil {
			all = append(all, fmt.Errorf("%s: %w", m.url, err))
		} else if slices.Contains(liars, m) {
			all = append(all, fmt.Errorf("%s: what it sent had another hash", m.url))
		}
	}
	return fmt.Errorf("no mirror gives it: %w", errors.Join(all...))
}
