package remotes

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"time"
)

// maxMirrors bounds the URLs of one remote: all are asked at once.
const maxMirrors = 16

// mirror is one of the URLs that serve a remote's files.
type mirror struct {
	url  string
	base *url.URL

	mu     sync.Mutex
	failed bool       // it was left for another: it comes last
	files  fileFinder // what its own catalogue says; nil while nobody has asked
}

// newMirrors gives the URLs of a normalized remote.
func newMirrors(r Remote) ([]*mirror, error) {
	var all []*mirror
	for _, s := range append([]string{r.URL}, r.Mirrors...) {
		base, err := parseURL(s, r.InsecureHTTP)
		if err != nil {
			return nil, err
		}
		all = append(all, &mirror{url: s, base: base})
	}
	return all, nil
}

func (m *mirror) fail() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = true
}

func (m *mirror) hasFailed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed
}

// inOrder gives the mirrors in the order in which to ask them: those that failed last.
func (c *Client) inOrder() []*mirror {
	all := slices.Clone(c.mirrors)
	slices.SortStableFunc(all, func(a, b *mirror) int {
		switch fa, fb := a.hasFailed(), b.hasFailed(); {
		case fa == fb:
			return 0
		case fa:
			return 1
		}
		return -1
	})
	return all
}

// fileFinder says where files are, by sha256 in hex.
type fileFinder map[string]string

// pathOf looks a file up by its hash in the mirror's own catalogue: mirrors may keep it elsewhere. It is "" when the
// mirror does not tell.
func (c *Client) pathOf(ctx context.Context, m *mirror, sha256 string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files = fileFinder{}
		cat, err := c.loadFrom(ctx, &loading{Client: c, mirror: m, strict: true})
		if err != nil {
			return ""
		}
		for _, img := range cat.images {
			for _, f := range img.Files {
				m.files[f.SHA256] = f.Path
			}
		}
	}
	return m.files[sha256]
}

// pace is how slow a mirror may be while there are others.
type pace struct {
	window time.Duration // over which the rate is taken: time spent waiting for the mirror
	least  int64         // bytes per second
}

var defaultPace = pace{window: 5 * time.Second, least: 64 << 10}

// mirrorIdle is idleTimeout where there are other mirrors.
const mirrorIdle = 10 * time.Second

// meter measures the rate of one mirror's transfer.
type meter struct {
	pace   pace
	waited time.Duration
	bytes  int64
}

// add counts one read and tells whether the mirror has been too slow for a whole window.
func (m *meter) add(n int, waited time.Duration) bool {
	m.bytes += int64(n)
	m.waited += waited
	if m.waited < m.pace.window {
		return false
	}
	slow := float64(m.bytes) < float64(m.pace.least)*m.waited.Seconds()
	m.waited, m.bytes = 0, 0
	return slow
}
