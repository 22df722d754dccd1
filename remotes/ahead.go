package remotes

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxAhead bounds how much of a file's end ReadAt keeps in memory, in bytes.
const maxAhead = 64 << 20

// aheadTries is how often ReadAt asks for what a broken connection left out.
const aheadTries = 3

// ending is the end of a file that came before its turn.
type ending struct {
	off   int64
	bytes []byte
}

// fetched is how much of the file comes by the connection.
func (d *download) fetched() int64 {
	if d.end.bytes != nil {
		return d.end.off
	}
	return d.file.Size
}

// ahead gives Read what is here already, once its turn has come.
func (d *download) ahead(p []byte) int {
	if d.off < d.fetched() || d.end.bytes == nil {
		return 0
	}
	_ = d.drop() // what it would still send is here
	n := copy(p, d.end.bytes[d.off-d.end.off:])
	d.hash.Write(p[:n])
	d.off += int64(n)
	return n
}

// ReadAt implements io.ReaderAt by a request of its own. The bytes are not verified
// yet: that is done when Read has come to the end. Those that reach to the end of
// the file are kept, and Read gives the same ones when it gets there. They come
// from the mirror that is being read from; one that cannot send parts is
// errors.ErrUnsupported.
func (d *download) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > d.file.Size {
		return 0, fmt.Errorf("cannot read %s at byte %d of %d", d.file.Path, off, d.file.Size)
	}
	want := p[:min(int64(len(p)), d.file.Size-off)]
	n := 0
	for try := 1; n < len(want); try++ {
		m, err := d.readPart(want[n:], off+int64(n))
		if n += m; err == nil {
			break
		}
		if try >= aheadTries || d.ctx.Err() != nil || errors.Is(err, errors.ErrUnsupported) || !transient(err) {
			return n, d.fail(err)
		}
		if err := d.client.pause(d.ctx, try); err != nil {
			return n, d.fail(err)
		}
	}
	if off+int64(n) == d.file.Size && off >= d.off && n > 0 && n <= maxAhead && d.err == nil {
		d.end = ending{off, append([]byte(nil), want...)}
		d.route.gave()
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readPart makes one request for a part.
func (d *download) readPart(p []byte, off int64) (int, error) {
	h := http.Header{
		"Accept-Encoding": {"identity"},
		"Range":           {fmt.Sprintf("bytes=%d-%d", off, off+int64(len(p))-1)},
	}
	if d.validator != "" && d.body != nil { // else it may be another server's
		h.Set("If-Range", d.validator)
	}
	url, err := joinPath(d.route.at.base, d.route.path)
	if err != nil {
		return 0, err
	}
	resp, err := d.client.do(d.ctx, url, h)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusPartialContent:
	case http.StatusOK: // no parts, or another file by now
		return 0, fmt.Errorf("the server sends no parts of files: %w", errors.ErrUnsupported)
	default:
		return 0, &StatusError{URL: url, Code: resp.StatusCode}
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
	n, err := io.ReadFull(resp.Body, p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
