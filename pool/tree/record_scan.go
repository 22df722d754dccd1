package tree

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
)

// scanBuffer is what is read of a record at a time, in bytes; no line of one that is scanned is longer.
const scanBuffer = 128 << 10

// recordScan is what a record that document.write wrote has, without what its entries say.
type recordScan struct {
	// names are those of the snapshots, as both lists have them.
	names []string
	// snapshotsEnd is where in the file the last entry of the snapshots ends, and volumesEnd where that of the volume's does.
	snapshotsEnd, volumesEnd int64
}

// scanRecord looks through a record by its lines: with a thousand snapshots, that takes a small part of the time of decoding it. ok is
// false for one that document.write did not write, that has no snapshots, or whose two lists are not of the same.
func scanRecord(f *os.File, size int64) (scan recordScan, ok bool, err error) {
	s := lineScanner{from: bufio.NewReaderSize(io.NewSectionReader(f, 0, size), scanBuffer)}
	if !s.next() || s.text() != "{" {
		return scan, false, s.err
	}
	for {
		if !s.next() {
			return scan, false, s.err
		} else if s.text() == `"`+sectionSnapshots+`": [` {
			break
		} else if _, value, ok := cutKey(s.line); !ok || len(value) == 0 {
			return scan, false, nil
		}
	}
	scan.snapshotsEnd, ok = s.list("],", func(name string) bool {
		scan.names = append(scan.names, name)
		return true
	})
	if !ok || !s.next() || s.text() != `"`+sectionVolumeSnapshots+`": [` {
		return scan, false, s.err
	}
	n := 0
	scan.volumesEnd, ok = s.list("]", func(name string) bool {
		n++
		return n <= len(scan.names) && scan.names[n-1] == name
	})
	ok = ok && n == len(scan.names) && s.next() && s.text() == "}" && s.at == size
	return scan, ok, s.err
}

// lineScanner reads the lines of a record.
type lineScanner struct {
	from *bufio.Reader
	line []byte // without its break, until the next one is read
	at   int64  // where the next one begins
	err  error
}

func (s *lineScanner) text() string { return string(s.line) }

// next reads a line. It is false where none is left, or only a part of one, or one that is too long.
func (s *lineScanner) next() bool {
	line, err := s.from.ReadSlice('\n')
	if err != nil {
		if !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			s.err = err
		}
		return false
	}
	s.line = line[:len(line)-1]
	s.at += int64(len(line))
	return true
}

// list reads the elements of a list that has some, up to the line that ends it, for as long as each takes their names. It returns where
// the last of them ends.
func (s *lineScanner) list(ends string, each func(name string) bool) (end int64, ok bool) {
	for more := true; more; {
		if !s.next() {
			return 0, false
		}
		var element []byte
		element, more = bytes.CutSuffix(s.line, []byte(","))
		if len(element) < 2 || element[0] != '{' || element[len(element)-1] != '}' {
			return 0, false
		}
		if name := entryName(element); name == "" || !each(name) {
			return 0, false
		}
		end = s.at - int64(len(s.line)-len(element)) - 1
	}
	return end, s.next() && s.text() == ends
}
