package tree

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
)

// What a record that document.write wrote begins with, what it has between the last of the snapshots and the first of the
// volume's, and what behind the last of those.
const (
	recordBegins = "{\n"
	volumesBegin = "\n],\n\"" + sectionVolumeSnapshots + "\": [\n"
	recordEnds   = "\n]\n}\n"
)

// recordEnd is the end of a record that document.write wrote: from the last snapshot on at least, with the list of the volume's
// snapshots, which has the names of all.
type recordEnd struct {
	// text is what the file has from the offset from on.
	text []byte
	from int64
	// last is the entry of the newest snapshot, and lastEnds where it ends in text.
	last     json.RawMessage
	lastEnds int
	// names are those in the list of the volume's snapshots.
	names []string
}

// appendAt is where in the file the entry of another snapshot goes.
func (e *recordEnd) appendAt() int64 { return e.from + int64(e.lastEnds) }

// readEnd reads the end of a record of size bytes, which begins no later than what it has to have in common with the next one
// begins to be written: with a whole unit before appendAt. ok is false for one that document.write did not write.
func readEnd(f *os.File, size int64) (end recordEnd, ok bool, err error) {
	begin := make([]byte, len(recordBegins))
	if _, err := f.ReadAt(begin, 0); err != nil || string(begin) != recordBegins {
		return recordEnd{}, false, ignoreEOF(err)
	}
	for n := shareUnit + size/6; ; n *= 2 {
		end.from = max(0, size-n)
		end.text = make([]byte, size-end.from)
		if _, err := io.ReadFull(io.NewSectionReader(f, end.from, size), end.text); err != nil {
			return recordEnd{}, false, err
		}
		if ok = end.parse(); ok && end.from <= sharedUnits(end.appendAt()) {
			return end, true, nil
		}
		if end.from == 0 {
			return end, ok, nil
		}
	}
}

// parse finds the parts of text.
func (e *recordEnd) parse() bool {
	e.lastEnds = bytes.Index(e.text, []byte(volumesBegin))
	if e.lastEnds < 0 {
		return false
	}
	e.last = e.text[bytes.LastIndexByte(e.text[:e.lastEnds], '\n')+1 : e.lastEnds]
	volumes, rest, ok := cutList(e.text[e.lastEnds+len(volumesBegin):])
	if !ok || len(volumes) == 0 || string(rest) != "}\n" || !bytes.HasSuffix(e.text, []byte(recordEnds)) {
		return false
	}
	e.names = make([]string, len(volumes))
	for i, raw := range volumes {
		e.names[i] = volumeSnapshotName(raw)
	}
	return true
}

// with is the text with one more snapshot, given as its entries in both lists.
func (e *recordEnd) with(snapshot, volume json.RawMessage) []byte {
	out := make([]byte, 0, len(e.text)+len(snapshot)+len(volume)+4)
	out = append(append(append(out, e.text[:e.lastEnds]...), ",\n"...), snapshot...)
	out = append(append(append(out, e.text[e.lastEnds:len(e.text)-len(recordEnds)]...), ",\n"...), volume...)
	return append(out, recordEnds...)
}
