package remotes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// documentTimeout bounds the transfer of one JSON document as a whole.
const documentTimeout = 10 * time.Minute

// documentTries is how often a document is asked for when there is no copy of
// it to fall back on.
const documentTries = 3

var errTooLarge = fmt.Errorf("it is larger than %d MiB", maxDocument>>20)

// loading is one pass over the documents of a remote.
type loading struct {
	*Client
	mirror *mirror
	check  bool // ask the server even for what is fresh
	away   bool // the server failed: use copies where there are any
	strict bool // never use a copy that the server has not confirmed
	copies bool // use nothing but copies
}

// load gives a parsed document of the remote. A cached copy younger than the
// expiry serves as it is (unless check is set); an older one is offered to the
// server for confirmation; and when the server is away, or what it sends cannot
// be parsed, that copy is used with a notice. Only what parses gets cached.
func load[T any](ctx context.Context, c *loading, path string, parse func([]byte) (T, error)) (T, error) {
	var none T
	url, err := joinPath(c.mirror.base, c.documentPath(path))
	if err != nil {
		return none, err
	}
	signed := parse
	parse = func(body []byte) (T, error) {
		body, err := c.verified(body)
		if err != nil {
			return none, err
		}
		return signed(body)
	}
	old := c.cache.read(url)
	if c.copies {
		return loadCopy(url, old, parse)
	}
	if old != nil && (c.away || !c.check && old.fresh(c.expiry)) {
		if v, err := parse(old.body); err == nil {
			return v, nil
		}
		old = nil // kept by a version of this program that read it otherwise
	}
	v, err := refresh(ctx, c.Client, url, old, parse)
	if err == nil || ctx.Err() != nil || old == nil || c.strict {
		return v, err
	}
	v, perr := parse(old.body)
	if perr != nil {
		return none, err
	}
	c.away = true
	c.notice(fmt.Sprintf("using the copy of %s's catalogue from %s: %v", c.remote.Name, old.checked.Format("2006-01-02 15:04"), err))
	return v, nil
}

// loadCopy gives the cached document, however old.
func loadCopy[T any](url string, old *entry, parse func([]byte) (T, error)) (T, error) {
	if old == nil {
		var none T
		return none, fmt.Errorf("there is no copy of %s", url)
	}
	return parse(old.body)
}

// refresh asks the server for a document that may be cached as old.
func refresh[T any](ctx context.Context, c *Client, url string, old *entry, parse func([]byte) (T, error)) (T, error) {
	var none T
	e, err := c.fetch(ctx, url, old)
	if err != nil {
		return none, fmt.Errorf("cannot fetch %s: %w", url, err)
	}
	if e == nil { // not modified
		v, err := parse(old.body)
		if err == nil {
			c.noticeError(c.cache.confirm(url))
			return v, nil
		}
		if e, err = c.fetch(ctx, url, nil); err != nil {
			return none, fmt.Errorf("cannot fetch %s: %w", url, err)
		}
	}
	v, err := parse(e.body)
	if err != nil {
		return none, fmt.Errorf("cannot use %s: %w", url, err)
	}
	c.noticeError(c.cache.write(e))
	return v, nil
}

// fetch gets a document; nil when old is still what the server has. Failures
// that may pass are tried again, unless old can serve instead.
func (c *Client) fetch(ctx context.Context, url string, old *entry) (*entry, error) {
	tries := documentTries
	if old != nil {
		tries = 1
	}
	for began, n := time.Now(), 1; ; n++ {
		e, err := c.fetchOnce(ctx, url, old, c.answer-time.Since(began))
		if err == nil || ctx.Err() != nil || n == tries || !transient(err) || time.Since(began) >= c.answer {
			return e, err
		}
		if perr := c.pause(ctx, n); perr != nil {
			return nil, perr
		}
	}
}

// fetchOnce is one try of fetch, answered within a time. net/http unpacks gzip by itself, as the
// request asks for no encoding; the limit is on what comes out.
func (c *Client) fetchOnce(ctx context.Context, url string, old *entry, answer time.Duration) (*entry, error) {
	ctx, cancel := context.WithTimeout(ctx, documentTimeout)
	defer cancel()
	h := http.Header{}
	if old != nil && old.ETag != "" {
		h.Set("If-None-Match", old.ETag)
	}
	if old != nil && old.LastModified != "" {
		h.Set("If-Modified-Since", old.LastModified)
	}
	idle := c.idle
	if old != nil { // which is used in place of what a silent server does not send
		idle = min(idle, mirrorIdle)
	}
	if old != nil || len(c.mirrors) > 1 {
		answer = min(answer, idle)
	}
	resp, err := c.doWithin(ctx, url, h, idle, max(answer, time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && old != nil:
		return nil, nil // nothing new
	case resp.StatusCode != http.StatusOK:
		return nil, &StatusError{URL: url, Code: resp.StatusCode}
	case resp.ContentLength > maxDocument:
		return nil, errTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("the connection was cut after %d bytes: %w", len(body), err)
		}
		return nil, err
	}
	if len(body) > maxDocument {
		return nil, errTooLarge
	}
	return &entry{
		cacheHeader: cacheHeader{URL: url, ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")},
		body:        body,
	}, nil
}
