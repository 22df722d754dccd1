package remotes

import (
	"errors"
	"slices"
	"sync"
)

// trust remembers, by the hash of a file, which mirrors sent something else under its name.
type trust struct {
	mu    sync.Mutex
	liars map[string][]*mirror
	// alone holds the files of which a mix of mirrors was wrong: from then on they come from one mirror each time.
	alone map[string]bool
}

// blame notes who sent what is not the file with that hash: the only mirror that sent a part of it, or, when several did,
// nobody yet.
func (t *trust) blame(sha256 string, from []*mirror) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.liars == nil {
		t.liars, t.alone = map[string][]*mirror{}, map[string]bool{}
	}
	if len(from) == 1 {
		t.liars[sha256] = append(t.liars[sha256], from[0])
	}
	t.alone[sha256] = true
}

// of says whom not to ask for a file, and whether it must come from one mirror alone.
func (t *trust) of(sha256 string) (liars []*mirror, alone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.liars[sha256]), t.alone[sha256]
}

// allLie lists the URLs of the mirrors when there are several and none is left that has not sent something else for a file.
func (c *Client) allLie(sha256 string) (urls []string) {
	liars, _ := c.trust.of(sha256)
	if len(c.mirrors) == 1 || len(liars) < len(c.mirrors) {
		return nil
	}
	for _, m := range c.mirrors {
		urls = append(urls, m.url)
	}
	return urls
}

// CanRetry says whether a download that failed with err (a *HashError, perhaps wrapped) may succeed if it is begun anew,
// because there is a mirror that has not yet sent something else under that file's name, or because what was wrong may
// be what an earlier download left.
func (c *Client) CanRetry(err error) bool {
	var bad *HashError
	if !errors.As(err, &bad) {
		return false
	}
	if bad.Resumed {
		return true
	}
	if len(c.mirrors) == 1 {
		return false
	}
	liars, _ := c.trust.of(bad.Want)
	return len(liars) < len(c.mirrors)
}
