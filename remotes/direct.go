package remotes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// Direct is a file at a URL of its own, outside of any remote's catalogue.
type Direct struct {
	// URL is where it really is.
	URL string
	// Size in bytes; -1 when the server does not say.
	Size int64
	// Fingerprint is the SHA-256 that the server gives for the image, in lower-case
	// hexadecimal; "" when it gives none.
	Fingerprint string
	// Body is the file. It fails when less than Size comes, and when the server
	// keeps silent for half a minute.
	Body io.ReadCloser
}

// OpenDirect opens the image file at an https URL, as `incus image import URL`
// does: when the server answers a HEAD request with the headers Incus-Image-URL
// and Incus-Image-Hash (or LXD-Image-...), the image is at that URL, which has to be
// https as well, and has that fingerprint; otherwise it is what the URL gives.
// archs are the architectures, by the kernel's names, that the server is told.
func OpenDirect(ctx context.Context, rawURL string, archs []string, o Options) (*Direct, error) {
	c := &Client{userAgent: o.UserAgent, idle: idleTimeout, http: &http.Client{Transport: o.Transport, CheckRedirect: redirectPolicy(false)}}
	c.stalls = stalls{after: stallNotice, notice: func(line string) {
		if o.Notice != nil {
			o.Notice(line)
		}
	}}
	if o.Transport == nil {
		c.http.Transport = newTransport(c.userAgent)
	}
	if err := checkDirect(rawURL); err != nil {
		return nil, err
	}
	d := &Direct{URL: rawURL}
	if err := c.follow(ctx, d, archs); err != nil {
		return nil, err
	}
	resp, err := c.do(ctx, d.URL, http.Header{"Accept-Encoding": {"identity"}})
	if err != nil {
		return nil, fmt.Errorf("cannot download %s: %w", printable(d.URL), err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("cannot download %s: %w", printable(d.URL), &StatusError{URL: d.URL, Code: resp.StatusCode}), resp.Body.Close())
	}
	d.Size, d.Body = resp.ContentLength, resp.Body
	return d, nil
}

// checkDirect refuses what is no https URL of a file.
func checkDirect(rawURL string) error {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no URL: %w", rawURL, err)
	case u.Scheme != "https":
		return fmt.Errorf("%s: only https is allowed", printable(rawURL))
	case u.Host == "":
		return fmt.Errorf("%q has no host", rawURL)
	}
	return nil
}

// follow asks where the image is. A server that knows no such question has it
// where it was asked.
func (c *Client) follow(ctx context.Context, d *Direct, archs []string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, d.URL, http.NoBody)
	if err != nil {
		return err
	}
	list := strings.Join(archs, ", ")
	req.Header.Set("User-Agent", c.userAgent)
	for _, prefix := range []string{"Incus", "LXD"} {
		req.Header.Set(prefix+"-Server-Architectures", list)
		req.Header.Set(prefix+"-Server-Version", "6.0")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("cannot reach %s: %w", printable(d.URL), plainError(err))
	}
	_ = resp.Body.Close() // of HEAD there is none
	for _, prefix := range []string{"Incus", "LXD"} {
		at, hash := resp.Header.Get(prefix+"-Image-URL"), strings.ToLower(resp.Header.Get(prefix+"-Image-Hash"))
		if resp.StatusCode != http.StatusOK || at == "" {
			continue
		}
		if !isSHA256(hash) {
			return fmt.Errorf("%s says where the image is, but not its hash", printable(d.URL))
		}
		if err := checkDirect(at); err != nil {
			return fmt.Errorf("%s says that the image is elsewhere: %w", printable(d.URL), err)
		}
		d.URL, d.Fingerprint = at, hash
		return nil
	}
	return nil
}

// Name is the last part of the file's path, for messages.
func (d *Direct) Name() string {
	u, err := url.Parse(d.URL)
	if err != nil {
		return printable(d.URL)
	}
	return printable(path.Base(u.Path))
}
