package remotes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// A download is tried again this often without at least as many new bytes, and for no longer than fruitlessTime
// without any.
const (
	downloadTries    = 6
	downloadProgress = 1 << 20
)

// Open starts to download a file and streams it. Before the io.EOF the whole
// file has been checked: its length and sha256 are those of f, or the last Read
// gives a *SizeError or *HashError instead; what was read before is then not to
// be used (but see CanRetry). A cut connection is taken up again where it
// broke, on another mirror if there is one. A file that no mirror has is a
// *StatusError, at once.
//
// What it returns is an io.ReaderAt as well, for a part of the file that is needed
// before its turn: not yet verified, and
// errors.ErrUnsupported from a server that sends no parts. What ReadAt gave up to
// the end of the file, Read gives again without loading it twice.
func (c *Client) Open(ctx context.Context, f File) (io.ReadCloser, error) {
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("cannot download from %s: %w", c.remote.Name, err)
	}
	d := c.newDownload(ctx, f)
	if d.err = d.connect(nil); d.err != nil {
		return nil, d.err
	}
	return d, nil
}

func (c *Client) newDownload(ctx context.Context, f File) *download {
	return &download{ctx: ctx, client: c, file: f, route: c.route(f), hash: sha256.New()}
}

// download is a file on its way. It keeps the context of Open because Read
// connects again.
type download struct {
	ctx    context.Context
	client *Client
	file   File
	route  *route
	hash   hash.Hash

	body      io.ReadCloser // nil while not connected
	bounded   bool          // the body ends by itself where the file should
	validator string        // If-Range: the strong ETag or date of the mirror's first answer
	meter     meter
	off       int64         // bytes given to the reader
	tries     int           // failed ones since mark
	waited    time.Duration // on tries and between them, since the last byte
	mark      int64         // off when tries began to count
	err       error         // sticky
	resumed   bool          // a part of it is from an earlier process

	// connected is told of each connection; nil = nobody.
	connected func(origin)

	mu     sync.Mutex // guards what ReadAt uses beside Read
	origin origin     // of the last connection
	end    ending     // the end of the file, once ReadAt was asked for it
}

// origin is where bytes of a file come from.
type origin struct {
	// URL is the file's on the mirror that is connected to, before redirects; "" while there is none.
	URL string `json:"url"`
	// Validator is what If-Range may hold for it.
	Validator string `json:"validator,omitempty"`

	mirror *mirror
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	if len(p) == 0 || d.err != nil {
		return 0, d.err
	}
	for {
		if d.off == d.file.Size {
			d.err = d.finish()
			return 0, d.err
		}
		if n, err := d.ahead(p); n > 0 || err != nil {
			d.err = err
			return n, err
		}
		if d.body == nil {
			if d.err = d.connect(errSlow); d.err != nil {
				return 0, d.err
			}
		}
		began := time.Now()
		n, err := d.body.Read(p[:min(int64(len(p)), d.fetched()-d.off)])
		slow := d.meter.add(n, time.Since(began))
		if n > 0 {
			d.waited = 0
			d.hash.Write(p[:n])
			d.off += int64(n)
			d.route.gave(d.route.at)
			if slow && err == nil && d.route.faster() {
				_ = d.drop() // what it would still send is not wanted; the next Read connects to another
			}
			return n, nil // an error that came with it comes again
		}
		d.waited += time.Since(began)
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if d.err = d.connect(err); d.err != nil {
			return 0, d.err
		}
	}
}

// Close implements io.Closer.
func (d *download) Close() error {
	err := d.drop()
	if d.err == nil {
		d.err = os.ErrClosed
	}
	return err
}

// drop closes the connection, if there is one.
func (d *download) drop() error {
	if d.body == nil {
		return nil
	}
	err := d.body.Close()
	d.body = nil
	return err
}

// finish checks what only the end can show.
func (d *download) finish() error {
	if !d.bounded && d.body != nil && !d.hasEnd() { // the answer to ReadAt told the length
		var one [1]byte
		if n, _ := io.ReadFull(d.body, one[:]); n > 0 {
			return d.fail(&SizeError{Path: d.file.Path, Want: d.file.Size, Got: d.file.Size + 1})
		}
	}
	if got := hex.EncodeToString(d.hash.Sum(nil)); got != d.file.SHA256 {
		if !d.resumed { // else it may be what was kept
			d.client.trust.blame(d.file.SHA256, d.route.allGivers())
		}
		return d.fail(&HashError{Path: d.file.Path, Want: d.file.SHA256, Got: got, Resumed: d.resumed, All: d.client.allLie(d.file.SHA256)})
	}
	return io.EOF
}

func (d *download) fail(err error) error {
	return fmt.Errorf("cannot download %s: %w", d.route.url(), err)
}

// errSlow ends a transfer that another mirror can do faster.
var errSlow = errors.New("the server is too slow")

// connect connects, for the first time (cause nil) or again after the
// connection broke by cause: to the next mirror at once, and when all have
// failed several times more, waiting in between.
func (d *download) connect(cause error) error {
	began, before := time.Now(), d.waited
	for {
		d.waited = before + time.Since(began)
		if cause != nil {
			if err := d.ctx.Err(); err != nil {
				return d.fail(err)
			}
			if !d.route.next(cause) {
				if err := d.again(cause); err != nil {
					return &TransferError{d.route.url(), err}
				}
			}
		}
		if cause = d.connectOnce(); cause == nil {
			d.waited = before + time.Since(began)
			d.meter = meter{pace: d.client.pace}
			return nil
		}
	}
}

// again begins another round over the mirrors, after a while, or says why it is
// of no use.
func (d *download) again(cause error) error {
	if d.off-d.mark >= downloadProgress {
		d.tries, d.mark = 0, d.off
	}
	url := d.route.url()
	if d.tries++; d.tries >= downloadTries || d.waited >= d.client.fruitless || !d.route.restart() {
		return d.describe(d.route.why(cause))
	}
	d.client.stalls.again(url, cause)
	return d.client.pause(d.ctx, d.tries)
}

// describe says how far it came.
func (d *download) describe(cause error) error {
	if d.off == 0 {
		return cause
	}
	return fmt.Errorf("the connection broke at byte %d of %d: %w", d.off, d.file.Size, cause)
}

// connectOnce makes one request to the mirror whose turn it is; where that has
// the file elsewhere, another one there.
func (d *download) connectOnce() error {
	if d.route.turned() {
		d.validator = "" // another server's
	}
	err := d.request()
	var status *StatusError
	if errors.As(err, &status) && status.Code == http.StatusNotFound && d.route.elsewhere(d.ctx) {
		err = d.request()
	}
	return err
}

// request asks for the rest of the file and leaves the body at the byte that
// the reader needs next. A failed close of the broken connection tells nothing
// new.
func (d *download) request() error {
	_ = d.drop()
	url, err := joinPath(d.route.at.base, d.route.path)
	if err != nil {
		return err
	}
	resp, err := d.ask(url, d.validator)
	if err == nil && resp.StatusCode == http.StatusOK && d.off >= worthAsking && d.validator != "" && resp.ContentLength == d.file.Size {
		// Behind a redirect another server may have the same file under another ETag. Whether it is the same the hash tells.
		_ = resp.Body.Close()
		resp, err = d.ask(url, "")
	}
	if err != nil {
		return err
	}
	if err := d.accept(resp); err != nil {
		_ = resp.Body.Close()
		return err
	}
	d.body = resp.Body
	at := origin{URL: url, Validator: d.validator, mirror: d.route.at}
	d.mu.Lock()
	d.origin = at
	d.mu.Unlock()
	if d.connected != nil {
		d.connected(at)
	}
	return nil
}

// worthAsking is how many bytes there must be already to ask once more for the
// rest of a file alone.
const worthAsking = 1 << 20

// ask requests the file from the byte that is needed next.
func (d *download) ask(url, validator string) (*http.Response, error) {
	h := http.Header{"Accept-Encoding": {"identity"}}
	if d.off > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-", d.off))
		if validator != "" {
			h.Set("If-Range", validator)
		}
	}
	return d.client.do(d.ctx, url, h)
}

// accept checks an answer against what was asked for. 200 to a request for a
// range means that the server does not do ranges, or that the file is another
// by now: what the reader has already is passed over, and the hash will tell.
func (d *download) accept(resp *http.Response) error {
	from := int64(0)
	switch {
	case resp.StatusCode == http.StatusOK:
	case resp.StatusCode == http.StatusPartialContent && d.off > 0:
		start, total, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil {
			return err
		}
		if start != d.off {
			return fmt.Errorf("the server sent bytes from %d instead of %d", start, d.off)
		}
		if total >= 0 && total != d.file.Size {
			return &SizeError{Path: d.file.Path, Want: d.file.Size, Got: total}
		}
		from = start
	default:
		return &StatusError{URL: d.route.url(), Code: resp.StatusCode}
	}
	d.bounded = false
	if n := resp.ContentLength; n >= 0 {
		if from+n > d.file.Size || (from == 0 && n != d.file.Size) {
			return &SizeError{Path: d.file.Path, Want: d.file.Size, Got: from + n}
		}
		d.bounded = true
	}
	if d.validator == "" {
		d.validator = validator(resp.Header)
	}
	if from < d.off {
		if _, err := io.CopyN(io.Discard, resp.Body, d.off); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// validator picks what If-Range may hold (RFC 9110, 13.1.5): a strong ETag, or
// else the date of modification.
func validator(h http.Header) string {
	if tag := h.Get("ETag"); tag != "" {
		if strings.HasPrefix(tag, `"`) {
			return tag
		}
		return ""
	}
	return h.Get("Last-Modified")
}
