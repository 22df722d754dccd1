package tree

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// headSize is how much of a large record is read for all but its snapshots, in bytes: LXD's takes some 5 KB.
const headSize = 32 << 10

// readHead reads all but the snapshots of a record that document.write wrote, of which those are the end. ok is false for one that
// is another, or has more before them.
func readHead(f *os.File) (rec record, ok bool, err error) {
	head := make([]byte, headSize)
	n, err := io.ReadFull(io.NewSectionReader(f, 0, headSize), head)
	if err = ignoreEOF(err); err != nil {
		return record{}, false, err
	}
	members, _, found := bytes.Cut(head[:n], []byte("\n\""+sectionSnapshots+"\": [\n"))
	if !found {
		return record{}, false, nil
	}
	doc, ok := parseLines(append(members[:len(members):len(members)], "\n}\n"...))
	if !ok {
		return record{}, false, nil
	}
	rec, err = decodeDocument(doc, alone)
	return rec, err == nil, err
}

// ignoreEOF takes a file that is shorter than what was to be read for no error.
func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
