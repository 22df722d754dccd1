package remotes

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// maxAhead bounds how much of a file's end ReadAt keeps in memory, in bytes.
const maxAhead = 64 << 20

// aheadTries is how often ReadAt asks for what a broken connection left out.
const aheadTries = 3

// ending is the end of a file that came before its turn.
type ending struct {
	off int64
	at  io.ReaderAt // the whole file's offsets, from off on; nil while there is none
}

func (d *download) ending() ending {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.end
}

func (d *download) hasEnd() bool { return d.ending().at != nil }

// setEnd lets Read take the end of the file from elsewhere than the connection.
func (d *download) setEnd(e ending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end = e
}

// fetched is how much of the file comes by the connection.
func (d *download) fetched() int64 {
	if e := d.ending(); e.at != nil {
		return e.off
	}
	return d.file.Size
}

// ahead gives Read what is here already, once its turn has come.
func (d *download) ahead(p []byte) (int, error) {
	e := d.ending()
	if e.at == nil || d.off < e.off {
		return 0, nil
	}
	_ = d.drop() // what it would still send is here
	n, err := e.at.ReadAt(p[:min(int64(len(p)), d.file.Size-d.off)], d.off)
	if n > 0 {
		err = nil
	}
	d.hash.Write(p[:n])
	d.off += int64(n)
	return n, err
}

// inMemory is the end of a file in memory.
type inMemory struct {
	off   int64
	bytes []byte
}

func (m inMemory) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, m.bytes[off-m.off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// ReadAt implements io.ReaderAt by a request of its own. The bytes are not verified
// yet: that is done when Read has come to the end. Those that reach to the end of
// the file are kept, and Read gives the same ones when it gets there. They come
// from the mirror that is being read from; one that cannot send parts is
// errors.ErrUnsupported.
func (d *download) ReadAt(p []byte, off int64) (int, error) {
	b := toTheEnd(p, off, d.file.Size)
	n, err := d.fetchPart(b, off)
	if err == nil && off+int64(n) == d.file.Size && n <= maxAhead {
		d.setEnd(ending{off, inMemory{off, append([]byte(nil), b[:n]...)}})
	}
	if n = copy(p, b[:n]); err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// maxPadding is how much behind what is asked for is loaded with it, in bytes, if it
// is all that follows: a squashfs is padded to 4 KiB, or to 64.
const maxPadding = 64 << 10

// toTheEnd is p, or something longer in its place where little is missing to the end
// of the file.
func toTheEnd(p []byte, off, size int64) []byte {
	if rest := size - off - int64(len(p)); rest > 0 && rest <= maxPadding {
		return make([]byte, size-off)
	}
	return p
}

// fetchPart is ReadAt without keeping what comes; p may reach beyond the end of
// the file.
func (d *download) fetchPart(p []byte, off int64) (int, error) {
	if off < 0 || off > d.file.Size {
		return 0, fmt.Errorf("cannot read %s at byte %d of %d", d.file.Path, off, d.file.Size)
	}
	want := p[:min(int64(len(p)), d.file.Size-off)]
	n := 0
	for try := 1; n < len(want); try++ {
		again, err := d.tryPart(want, &n, off, try == 1)
		if err == nil {
			break
		}
		if again && try < aheadTries {
			err = d.client.pause(d.ctx, try)
		} else {
			again = false
		}
		if !again || err != nil {
			return n, fmt.Errorf("cannot download the end of %s: %w", d.file.Path, err)
		}
	}
	return n, nil
}

// tryPart asks each mirror in turn, at first the one that the file comes from, for
// what is missing behind the n bytes that came; one that fails is left for the next, and a
// slow one if hurry is set. It says whether another try may help.
func (d *download) tryPart(want []byte, n *int, off int64, hurry bool) (again bool, err error) {
	sources := d.sources()
	for i, from := range sources {
		var m int
		m, err = d.readPart(from, want[*n:], off+int64(*n), hurry && i+1 < len(sources))
		if *n += m; err == nil || d.ctx.Err() != nil {
			return false, err
		}
		again = again || transient(err) && !errors.Is(err, errors.ErrUnsupported)
		if i+1 < len(sources) {
			to := sources[i+1].mirror
			d.client.noticeLeft(from.mirror, to, fmt.Sprintf("%s is left for %s: %v", from.mirror.url, to.url, err))
		}
	}
	return again, err
}

// sources are where a part of the file may come from: the mirror that is read from, and
// the others, unless all of the file is to come from one. There is a connection, or it is
// that without a mirror.
func (d *download) sources() []origin {
	d.mu.Lock()
	all := []origin{d.origin}
	d.mu.Unlock()
	if all[0].mirror == nil || d.route.alone {
		return all
	}
	liars, _ := d.client.trust.of(d.file.SHA256)
	for _, m := range d.client.inOrder() {
		url, err := joinPath(m.base, d.file.Path)
		if err == nil && m != all[0].mirror && !slices.Contains(liars, m) {
			all = append(all, origin{URL: url, mirror: m})
		}
	}
	return all
}

// readPart makes one request for a part. A slow answer may be left in the middle.
func (d *download) readPart(from origin, p []byte, off int64, hurry bool) (int, error) {
	if from.mirror == nil {
		return 0, fmt.Errorf("there is no connection: %w", errors.ErrUnsupported)
	}
	resp, err := d.askPart(from.URL, from.Validator, p, off)
	if err == nil && resp.StatusCode == http.StatusOK && from.Validator != "" && resp.ContentLength == d.file.Size {
		_ = resp.Body.Close() // as in request: another server's ETag of the same file
		resp, err = d.askPart(from.URL, "", p, off)
	}
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusPartialContent:
	case http.StatusOK: // no parts, or another file by now
		return 0, fmt.Errorf("the server sends no parts of files: %w", errors.ErrUnsupported)
	default:
		return 0, &StatusError{URL: from.URL, Code: resp.StatusCode}
	}
	start, total, err := parseContentRange(resp.Header.Get("Content-Range"))
	switch {
	case err != nil:
		return 0, err
	case start != off:
		return 0, fmt.Errorf("the server sent bytes from %d instead of %d", start, off)
	case total != d.file.Size:
		return 0, fmt.Errorf("the server does not say that the file has %d bytes: %w", d.file.Size, errors.ErrUnsupported)
	}
	d.route.gave(from.mirror)
	return d.fill(p, resp.Body, hurry)
}

// fill is io.ReadFull; with hurry a server that is too slow for long is errSlow.
func (d *download) fill(p []byte, body io.Reader, hurry bool) (n int, err error) {
	rate := meter{pace: d.client.pace}
	for n < len(p) {
		began := time.Now()
		m, err := body.Read(p[n:])
		slow := rate.add(m, time.Since(began))
		n += m
		switch {
		case n == len(p):
		case errors.Is(err, io.EOF):
			return n, io.ErrUnexpectedEOF
		case err != nil:
			return n, err
		case slow && hurry:
			return n, errSlow
		}
	}
	return n, nil
}

// askPart requests a part of the file.
func (d *download) askPart(url, validator string, p []byte, off int64) (*http.Response, error) {
	h := http.Header{
		"Accept-Encoding": {"identity"},
		"Range":           {fmt.Sprintf("bytes=%d-%d", off, off+int64(len(p))-1)},
	}
	if validator != "" {
		h.Set("If-Range", validator)
	}
	return d.client.do(d.ctx, url, h)
}
