package squashfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zlib"
)

// maxMemory is what the largest tree that is admitted may take in bytes.
const maxMemory = 200 << 20

// metadataBlocks compresses a table; starts are where its blocks begin.
func metadataBlocks(t testing.TB, plain []byte) (out []byte, starts []uint32) {
	t.Helper()
	for len(plain) > 0 {
		n := min(len(plain), metadataBlock)
		var b bytes.Buffer
		w, err := zlib.NewWriterLevel(&b, zlib.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(plain[:n]); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		starts = append(starts, uint32(len(out)))
		out = binary.LittleEndian.AppendUint16(out, uint16(b.Len()))
		out = append(out, b.Bytes()...)
		plain = plain[n:]
	}
	return out, starts
}

// crowd is a squashfs, without data, of n fifos in one directory.
func crowd(t testing.TB, n int) []byte {
	t.Helper()
	le := binary.LittleEndian
	head := func(b []byte, kind uint16, number int) []byte {
		b = le.AppendUint16(le.AppendUint16(b, kind), 0o755)
		return le.AppendUint32(le.AppendUint32(le.AppendUint32(b, 0), 0), uint32(number))
	}
	const size = 20
	inodes := make([]byte, 0, n*size+40)
	for i := range n {
		inodes = le.AppendUint32(head(inodes, kindFifo, i+1), 1)
	}
	names := n*15 + n/maxHeaderEntries*24 + n*size/metadataBlock*24
	inodes = head(inodes, kindDir+extended, n+1)
	list := len(inodes) + 4 // its size is told below
	inodes = append(inodes, make([]byte, 24)...)
	le.PutUint32(inodes[len(inodes)-4:], noXattr)
	_, starts := metadataBlocks(t, inodes) // the size does not change where they begin, but for the last
	dirs := make([]byte, 0, names)
	for i := 0; i < n; {
		block := i * size / metadataBlock
		count := 0
		for i+count < n && count < maxHeaderEntries && (i+count)*size/metadataBlock == block {
			count++
		}
		dirs = le.AppendUint32(le.AppendUint32(le.AppendUint32(dirs, uint32(count-1)), starts[block]), uint32(i+1))
		for range count {
			dirs = le.AppendUint16(le.AppendUint16(dirs, uint16(i*size%metadataBlock)), 0)
			dirs = le.AppendUint16(le.AppendUint16(dirs, kindFifo), 6)
			dirs = fmt.Appendf(dirs, "%07d", i)
			i++
		}
	}
	le.PutUint32(inodes[list:], uint32(len(dirs)+3))
	table, starts := metadataBlocks(t, inodes)
	list2, _ := metadataBlocks(t, dirs)
	owners, _ := metadataBlocks(t, make([]byte, 4))
	b := make([]byte, SuperSize, SuperSize+len(table)+len(list2)+100)
	root := n * size
	copy(b, "hsqs")
	le.PutUint32(b[4:], uint32(n+1))
	le.PutUint32(b[12:], 131072)
	for at, v := range map[int]uint16{20: uint16(Gzip), 22: 17, 26: 1, 28: 4} {
		le.PutUint16(b[at:], v)
	}
	le.PutUint64(b[32:], uint64(starts[root/metadataBlock])<<16|uint64(root%metadataBlock))
	le.PutUint64(b[64:], uint64(len(b)))
	b = append(b, table...)
	le.PutUint64(b[72:], uint64(len(b)))
	b = append(b, list2...)
	b = le.AppendUint64(append(b, owners...), uint64(len(b)))
	le.PutUint64(b[48:], uint64(len(b)-8))
	for _, at := range []int{56, 80, 88} {
		le.PutUint64(b[at:], absent)
	}
	le.PutUint64(b[40:], uint64(len(b)))
	return b
}

// TestMemory: the most inodes that are admitted fit in memory: even all that is
// ever allocated for them.
func TestMemory(t *testing.T) {
	b := crowd(t, MaxInodes-1)
	s, err := ParseSuper(b)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ts, err := readTables(s, b[s.InodeTable:])
	if err != nil {
		t.Fatal(err)
	}
	tree, err := ts.walk(t.Context(), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := len(tree.nodes); n != MaxInodes {
		t.Errorf("%d nodes", n)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got+maxTail > maxMemory {
		t.Errorf("%d MiB allocated", got>>20)
	} else {
		t.Logf("%d MiB allocated for %d inodes, tables of %d MiB", got>>20, len(tree.nodes), len(b)>>20)
	}
}
