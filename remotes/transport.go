package remotes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Bounds on how long a server may keep silent.
const (
	dialTimeout   = 15 * time.Second
	tlsTimeout    = 15 * time.Second
	headerTimeout = 30 * time.Second
	idleTimeout   = 30 * time.Second
	// answerTimeout is for the answer to a request for a document, all tries together.
	answerTimeout = 30 * time.Second
)

// maxRedirects is Go's and curl's order of magnitude; mirrors use one or two.
const maxRedirects = 10

// errIdle ends a transfer in which nothing arrives, errSilent one that does not begin.
var (
	errIdle   = errors.New("the server sends no more data")
	errSilent = errors.New("the server does not answer")
)

// newTransport makes the transport used when none is given: proxies from the
// environment, the system's certificates (crypto/x509 honours SSL_CERT_FILE and
// SSL_CERT_DIR), HTTP/2. Proxies are told the user agent, too.
func newTransport(userAgent string) *http.Transport {
	d := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		ProxyConnectHeader:     http.Header{"User-Agent": {userAgent}},
		DialContext:            d.DialContext,
		TLSHandshakeTimeout:    tlsTimeout,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		ResponseHeaderTimeout:  headerTimeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: 1 << 20,
		ForceAttemptHTTP2:      true,
	}
}

// redirectError is a redirect that is not followed.
type redirectError struct{ to, why string }

func (e *redirectError) Error() string {
	return fmt.Sprintf("the server redirects to %s: %s", e.to, e.why)
}

// redirectPolicy follows redirects, but never away from https: what began
// there stays there. Plain http is followed only for a remote that is itself.
func redirectPolicy(insecure bool) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		to := (&url.URL{Scheme: req.URL.Scheme, Host: req.URL.Host, Path: req.URL.Path}).String()
		if len(via) >= maxRedirects {
			return &redirectError{to, "too many redirects"}
		}
		if req.URL.Scheme == "https" {
			return nil
		}
		if !insecure || req.URL.Scheme != "http" || via[len(via)-1].URL.Scheme == "https" {
			return &redirectError{to, "that is not https"}
		}
		return nil
	}
}

// do sends a request whose body ends with errIdle when nothing arrives for the
// client's idle time. Closing the body ends everything that belongs to it. Where there
// are other mirrors, the connection and the answer get no more time than that either.
func (c *Client) do(ctx context.Context, rawURL string, header http.Header) (*http.Response, error) {
	answer := time.Duration(0)
	if len(c.mirrors) > 1 {
		answer = c.idle
	}
	return c.doWithin(ctx, rawURL, header, c.idle, answer)
}

// doWithin is do with an idle time, and one in which there must be an answer; 0 = that
// of the transport's own limits.
func (c *Client) doWithin(ctx context.Context, rawURL string, header http.Header, idle, answer time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, http.NoBody)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", c.userAgent)
	silent := func() bool { return true }
	if answer > 0 {
		silent = time.AfterFunc(answer, func() { cancel(errSilent) }).Stop
	}
	waiting := c.stalls.timer(rawURL)
	resp, err := c.http.Do(req)
	waiting.Stop()
	if !silent() && err == nil { // it came just then
		err = errors.Join(errSilent, resp.Body.Close())
	}
	if err != nil {
		if errors.Is(context.Cause(ctx), errSilent) {
			err = errSilent
		}
		cancel(nil)
		return nil, plainError(err)
	}
	timer := time.AfterFunc(idle, func() { cancel(errIdle) })
	timer.Stop()
	resp.Body = &idleBody{body: resp.Body, ctx: ctx, cancel: cancel, timer: timer, idle: idle, waiting: waiting, stall: c.stalls.after}
	return resp, nil
}

// authorityError is a certificate of a server that nobody vouches for.
type authorityError struct{ cause error }

func (e *authorityError) Error() string { return e.cause.Error() }

// Unwrap gives the cause.
func (e *authorityError) Unwrap() error { return e.cause }

// Hint says how such a certificate is accepted.
func (e *authorityError) Hint() string {
	return "if it is the right server: SSL_CERT_FILE=FILE in the environment names the certificates that are believed in place of the system's"
}

// plainError takes the method and URL off an error of net/http, as the caller
// names the URL itself.
func plainError(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		return &authorityError{err}
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the server closed the connection without an answer: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// idleBody bounds the time that one Read may wait. The time that its reader
// takes between Reads does not count. It keeps the request's context because
// that is how a blocked Read is ended.
type idleBody struct {
	body   io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	idle   time.Duration
	// waiting tells the user of a Read that takes longer than stall.
	waiting *time.Timer
	stall   time.Duration
}

// Read implements io.Reader.
func (b *idleBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.idle)
	b.waiting.Reset(b.stall)
	n, err := b.body.Read(p)
	b.waiting.Stop()
	b.timer.Stop()
	if err != nil && err != io.EOF && errors.Is(context.Cause(b.ctx), errIdle) {
		err = errIdle
	}
	return n, err
}

// Close implements io.Closer.
func (b *idleBody) Close() error {
	b.timer.Stop()
	err := b.body.Close()
	b.cancel(nil)
	return err
}

// transient tells the failures that may go away by themselves.
func transient(err error) bool {
	var (
		status   *StatusError
		redirect *redirectError
		cert     *tls.CertificateVerificationError
		dns      *net.DNSError
		size     *SizeError
		hash     *HashError
	)
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, errTooLarge):
		return false
	case errors.As(err, &status):
		return status.Code >= 500 || status.Code == http.StatusTooManyRequests || status.Code == http.StatusRequestTimeout
	case errors.As(err, &redirect), errors.As(err, &cert), errors.As(err, &size), errors.As(err, &hash):
		return false
	case errors.As(err, &dns):
		return !dns.IsNotFound
	}
	return true
}

// pause waits before try n (from 1), each time twice as long, or until ctx ends.
func (c *Client) pause(ctx context.Context, n int) error {
	t := time.NewTimer(min(c.backoff<<(n-1), 8*time.Second))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
