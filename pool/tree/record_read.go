package tree

import (
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// keptFrom is from which size on a record is kept in memory once it was read: an operation reads it several times, and that of
// an instance with a thousand snapshots has a megabyte and more.
const keptFrom = 64 << 10

// keptRecord is the record that was read last, if it is a large one.
type keptRecord struct {
	sync.Mutex
	is  fileIdentity
	doc document
	// brief are the snapshots of it, brief, once they were asked for.
	brief []entry
}

// fileIdentity is a file as it was when it was read. A record is replaced, not written to; LXD does that, for which there is the
// rest.
type fileIdentity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

func identityOf(f *os.File) (fileIdentity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fileIdentity{}, err
	}
	return fileIdentity{st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim}, nil
}

// readRecord reads the record of the volume at path.
func (t *Tree) readRecord(path string, how detail) (rec record, err error) {
	file := path + "/" + recordFile
	f, err := openFile(file)
	if err != nil {
		return record{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	is, err := identityOf(f)
	if err != nil {
		return record{}, err
	}
	if is.size >= keptFrom && how != whole {
		ok := false
		if how == alone && is.size <= maxRecord {
			rec, ok, err = readHead(f)
		}
		if err == nil && !ok {
			rec, err = t.kept.read(f, is, how)
		}
	} else {
		var raw []byte
		if raw, err = readRegular(f, maxRecord); err != nil {
			return record{}, err
		}
		rec, err = decodeRecord(raw, how)
	}
	if err != nil {
		return record{}, fmt.Errorf("%s is damaged: %w", file, err)
	}
	return rec, nil
}

// readRaw reads the record of the volume at path with its bytes.
func readRaw(path string) (record, []byte, error) {
	file := path + "/" + recordFile
	raw, err := readFile(file, maxRecord)
	if err != nil {
		return record{}, nil, err
	}
	rec, err := decodeRecord(raw, whole)
	if err != nil {
		return record{}, nil, fmt.Errorf("%s is damaged: %w", file, err)
	}
	return rec, raw, nil
}

func (k *keptRecord) read(f *os.File, is fileIdentity, how detail) (record, error) {
	k.Lock()
	defer k.Unlock()
	if k.is != is {
		raw, err := readRegular(f, maxRecord)
		if err != nil {
			return record{}, err
		}
		doc, err := parseDocument(raw)
		if err != nil {
			return record{}, err
		}
		if doc.lines {
			doc.raw, doc.is = raw, is
		}
		k.is, k.doc, k.brief = is, doc, nil
	}
	rec, err := decodeDocument(k.doc, how)
	if err != nil || how == alone {
		return rec, err
	}
	if k.brief != nil {
		rec.entries = slices.Clone(k.brief)
		return rec, nil
	}
	if rec.entries, err = decodeEntries(k.doc, true); err == nil && k.doc.lines { // others are not brief, but have maps
		k.brief = slices.Clone(rec.entries)
	}
	return rec, err
}
