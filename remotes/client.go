package remotes

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// indexPath is where the catalogue of a remote begins.
const indexPath = "streams/v1/index.json"

// Options are the arguments of NewClient beside the remote.
type Options struct {
	// CacheDir is a directory for this remote alone, made when needed; "" keeps
	// nothing between processes.
	CacheDir string
	// DownloadDir is where downloads are kept that did not end (OpenWith); several
	// remotes and processes may share one. "" keeps none.
	DownloadDir string
	// UserAgent is what the server is told, "poolctl/1.2".
	UserAgent string
	// Transport sends the requests; nil is one with the system's certificates
	// (or SSL_CERT_FILE's), the environment's proxy and timeouts.
	Transport http.RoundTripper
	// Expiry is how long the catalogue is used without asking the server; 0 is
	// one hour, as LXD and Incus have it.
	Expiry time.Duration
	// Notice is told, in a sentence, of what went wrong without harm: a stale
	// catalogue in use, entries left out, a cache that cannot be written.
	Notice func(string)
}

// Client reads one remote. It may be used by several goroutines.
//
// A remote with mirrors is read from all of them: the freshest valid catalogue counts, and a file comes from the first
// mirror that has it. One that is dead, slow, stale or that sends something else is left for the next, in the middle of a
// file too: hashes say what a file is, wherever it comes from.
type Client struct {
	remote    Remote
	mirrors   []*mirror // the remote's own URL first
	keys      openpgp.EntityList
	http      *http.Client
	userAgent string
	cache     cache
	downloads string
	expiry    time.Duration
	notice    func(string)
	leftFor   sync.Map // pairs of mirrors of which the user was told
	native    string
	idle      time.Duration // how long a transfer may stand still
	answer    time.Duration // within which a document has to begin to come, all tries together
	backoff   time.Duration // before the second try
	pace      pace          // how slow a mirror may be
	grace     time.Duration // how long mirrors are waited for after the first has answered
	fruitless time.Duration // how long a download may go on without a byte, all tries together
	stalls    stalls

	mu     sync.Mutex // held while loading: one load serves all callers
	loaded *catalogue
	at     time.Time

	trust trust // what mirrors sent
}

// NewClient checks a remote (see Remote.Normalize) and makes a client for it.
// It does not connect yet.
func NewClient(r Remote, o Options) (*Client, error) {
	r, err := r.Normalize()
	if err != nil {
		return nil, err
	}
	mirrors, err := newMirrors(r)
	if err != nil {
		return nil, err
	}
	c := &Client{
		remote: r, mirrors: mirrors, userAgent: o.UserAgent, cache: cache{o.CacheDir}, downloads: o.DownloadDir, expiry: o.Expiry,
		native: NativeArch(), idle: idleTimeout, answer: answerTimeout, backoff: 500 * time.Millisecond, pace: defaultPace, grace: raceGrace,
		fruitless: fruitlessTime,
	}
	if len(mirrors) > 1 {
		c.idle = mirrorIdle
	}
	if len(r.Keyring) > 0 {
		if c.keys, err = parseKeyring(r.Keyring); err != nil {
			return nil, err
		}
	}
	if c.userAgent == "" {
		c.userAgent = "poolctl"
	}
	if c.expiry <= 0 {
		c.expiry = time.Hour
	}
	var once sync.Mutex // mirrors are asked at the same time, and told of one after the other
	c.notice = func(s string) {
		if o.Notice != nil {
			once.Lock()
			defer once.Unlock()
			o.Notice(s)
		}
	}
	c.stalls = stalls{after: stallNotice, notice: c.notice}
	transport := o.Transport
	if transport == nil {
		transport = newTransport(c.userAgent)
	}
	c.http = &http.Client{Transport: transport, CheckRedirect: redirectPolicy(r.InsecureHTTP)}
	return c, nil
}

// Remote is the remote as NewClient normalized it.
func (c *Client) Remote() Remote { return c.remote }

// Images lists all images of the remote, in LXD's and Incus's order: os,
// release, variant, newest first, architecture. Both servers' spellings of the
// catalogue are read. The images' maps and slices are shared: do not change
// them.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	cat, err := c.catalogue(ctx, false)
	if err != nil {
		return nil, err
	}
	return slices.Clone(cat.images), nil
}

// Find resolves a reference to an image: an alias ("" stands for "default"),
// an alias with its architecture ("alpine/3.20/arm64"), or the beginning of a
// fingerprint in hex. Without Want, an alias stands for a container of the
// machine's architecture, then of one that it runs too (i686 on x86_64), then
// for a virtual machine. The error is a *NotFoundError or *AmbiguousError when
// the catalogue could be read.
func (c *Client) Find(ctx context.Context, ref string, w Want) (Image, error) {
	cat, err := c.catalogue(ctx, false)
	if err != nil {
		return Image{}, err
	}
	return cat.find(c.remote.Name, ref, w)
}

// Refresh asks the server for a newer catalogue now, however fresh the cached
// one is: for when the server has no longer what that promises. It is an error
// that the server cannot be asked; what is cached serves on.
func (c *Client) Refresh(ctx context.Context) error {
	_, err := c.catalogue(ctx, true)
	return err
}

// catalogue gives the remote's catalogue, loading it when there is none in
// memory or it has expired.
func (c *Client) catalogue(ctx context.Context, check bool) (*catalogue, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded != nil && !check && time.Since(c.at) < c.expiry {
		return c.loaded, nil
	}
	cat, err := c.load(ctx, check)
	if err != nil {
		return nil, fmt.Errorf("cannot read the catalogue of %s: %w", c.remote.Name, err)
	}
	c.loaded, c.at = cat, time.Now()
	return cat, nil
}

// load reads the catalogue, from the mirror that serves it best where there are several.
func (c *Client) load(ctx context.Context, check bool) (*catalogue, error) {
	var cat *catalogue
	var err error
	if len(c.mirrors) == 1 {
		cat, err = c.loadFrom(ctx, &loading{Client: c, mirror: c.mirrors[0], check: check, strict: check})
	} else {
		cat, err = c.loadBest(ctx, check)
	}
	if err != nil {
		return nil, err
	}
	if s := cat.skip; s.n > 0 {
		c.notice(fmt.Sprintf("%d entries in the catalogue of %s are unusable and left out; the first: %v", s.n, c.remote.Name, s.first))
	}
	return cat, nil
}

// loadFrom reads the index of a mirror and every products file that it names.
func (c *Client) loadFrom(ctx context.Context, l *loading) (*catalogue, error) {
	paths, err := load(ctx, l, indexPath, parseIndex)
	if err != nil {
		return nil, err
	}
	files := make([]*productsFile, len(paths))
	size, objects := 0, 0
	for i, p := range paths {
		if files[i], err = load(ctx, l, p, parseProducts); err != nil {
			return nil, err
		}
		// The limits of one document are those of all.
		if size += files[i].size; size > maxDocument {
			return nil, fmt.Errorf("cannot use the catalogue of %s: %w", c.remote.Name, errTooLarge)
		}
		if objects += files[i].objects; objects > maxObjects {
			return nil, fmt.Errorf("cannot use the catalogue of %s: %w", c.remote.Name, &LimitError{"objects", maxObjects})
		}
	}
	cat := newCatalogue(files, c.remote.URL, c.native)
	if cat.limit != nil {
		return nil, fmt.Errorf("cannot use the catalogue of %s: %w", c.remote.Name, cat.limit)
	}
	return cat, nil
}

func (c *Client) noticeError(err error) {
	if err != nil {
		c.notice(err.Error())
	}
}
