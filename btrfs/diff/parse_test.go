package diff

import "testing"

// FuzzParse: whatever is in the items of a damaged file system, they are read or
// refused.
func FuzzParse(f *testing.F) {
	f.Add(make([]byte, 160))
	f.Add([]byte("\x01\x02\x00\x00\x00\x00\x00\x00\x03\x00abc"))
	f.Add(append(make([]byte, 25), 1, 0, 1, 0, 0, 'a', 'b'))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parseInode(data); err == nil && len(data) < 160 {
			t.Error("an inode of too few bytes")
		}
		size := 0
		for _, kind := range []uint8{inodeRefKey, inodeExtrefKey} {
			_ = parseRefs(kind, 1, data, func(l link) { size += len(l.name) })
		}
		if size > 2*len(data) {
			t.Errorf("names of %d bytes in %d", size, len(data))
		}
		size = 0
		_ = parseDirItems(data, func(d dirItem) { size += len(d.name) + len(d.value) })
		if size > len(data) {
			t.Errorf("entries of %d bytes in %d", size, len(data))
		}
		var i inode
		i.size = 1 << 20
		for _, start := range []uint64{0, 4096, 1 << 63} {
			_ = i.add(start, data)
		}
	})
}
