package extents

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var le = binary.LittleEndian

// rawBlock is a tree block with a good header.
func rawBlock(size, level int, count uint32, body []byte) []byte {
	b := make([]byte, size)
	le.PutUint64(b[48:], 1<<20)
	le.PutUint64(b[80:], 7)
	le.PutUint32(b[96:], count)
	b[100] = byte(level)
	copy(b[headerSize:], body)
	le.PutUint32(b, crc32.Checksum(b[checksumSize:], castagnoli))
	return b
}

func rawKey(k key) []byte {
	return le.AppendUint64(append(le.AppendUint64(nil, k.object), k.kind), k.offset)
}

func rawItem(k key, offset, size uint32) []byte {
	return le.AppendUint32(le.AppendUint32(rawKey(k), offset), size)
}

func rawFileExtent(kind, compression byte, extent, size, offset, length uint64) []byte {
	b := make([]byte, 53)
	b[16], b[20] = compression, kind
	for i, v := range []uint64{extent, size, offset, length} {
		le.PutUint64(b[21+8*i:], v)
	}
	return b
}

func TestCheckBlock(t *testing.T) {
	good := rawBlock(4096, 1, 1, nil)
	p := pointer{1 << 20, 7}
	if err := checkBlock(good, sumCRC32C, p, 1); err != nil {
		t.Error(err)
	}
	flipped := append([]byte{}, good...)
	flipped[4000] ^= 1
	for name, err := range map[string]error{
		"bit flipped": checkBlock(flipped, sumCRC32C, p, 1),
		"address":     checkBlock(good, sumCRC32C, pointer{2 << 20, 7}, 1),
		"generation":  checkBlock(good, sumCRC32C, pointer{1 << 20, 8}, 1),
		"level":       checkBlock(good, sumCRC32C, p, 0),
		"other sum":   checkBlock(good, sumSHA256, p, 1),
		"xxhash":      checkBlock(good, sumXXHash, p, 1),
	} {
		if !errors.Is(err, errStale) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkBlock(good[:50], sumCRC32C, p, 1); err == nil {
		t.Error("a block that is cut short is good")
	}
}

func TestParseNode(t *testing.T) {
	body := append(rawKey(key{5, 1, 0}), le.AppendUint64(le.AppendUint64(nil, 4096), 9)...)
	body = append(body, append(rawKey(key{8, 1, 0}), le.AppendUint64(le.AppendUint64(nil, 8192), 10)...)...)
	nodes, firsts, err := children(rawBlock(4096, 1, 2, body))
	if err != nil || !cmp.Equal(firsts, []uint64{5, 8}) || len(nodes) != 2 || nodes[1] != (pointer{8192, 10}) {
		t.Errorf("children: %v, %v, %v", nodes, firsts, err)
	}
	for _, n := range []uint32{0, 200, 1 << 31} {
		if _, _, err := children(rawBlock(4096, 1, n, body)); err == nil {
			t.Errorf("a node with %d pointers is good", n)
		}
	}
}

func TestParseLeaf(t *testing.T) {
	data := rawFileExtent(1, 0, 1<<20, 8192, 4096, 4096)
	where := uint32(4096 - headerSize - len(data))
	body := append(rawItem(key{257, extentDataKind, 12288}, where, uint32(len(data))), rawItem(key{orphanObject, orphanItemKind, 300}, where, 0)...)
	raw := rawBlock(4096, 0, 2, body)
	copy(raw[4096-len(data):], data)
	b, err := parseBlock(raw, 0)
	want := fileExtent{inode: 257, origin: 8192, extent: 1 << 20, size: 8192, physical: 1<<20 + 4096, length: 4096}
	if err != nil || len(b.files) != 1 || b.files[0] != want || !cmp.Equal(b.orphans, []uint64{300}) {
		t.Errorf("parseBlock: %+v, %v", b, err)
	}
	for name, item := range map[string][]byte{
		"beyond the end":     rawItem(key{1, 1, 1}, where, uint32(len(data))+1),
		"over the items":     rawItem(key{1, 1, 1}, 0, 4),
		"wraps around":       rawItem(key{1, 1, 1}, ^uint32(0), 200),
		"extent cut short":   rawItem(key{1, extentDataKind, 1}, where, 52),
		"extent of no bytes": rawItem(key{1, extentDataKind, 1}, where, 0),
	} {
		raw := rawBlock(4096, 0, 1, item)
		copy(raw[4096-len(data):], data)
		if b, err := parseBlock(raw, 0); err == nil {
			t.Errorf("%s: %+v", name, b)
		}
	}
	if b, err := parseBlock(rawBlock(4096, 0, 1000, nil), 0); err == nil {
		t.Errorf("too many items: %+v", b)
	}
}

func TestParseFileExtent(t *testing.T) {
	k := key{257, extentDataKind, 8192}
	for name, c := range map[string]struct {
		raw      []byte
		ok       bool
		physical uint64
	}{
		"inline":       {make([]byte, 21), false, 0},
		"hole":         {rawFileExtent(1, 0, 0, 0, 0, 4096), false, 0},
		"regular":      {rawFileExtent(1, 0, 1<<20, 8192, 4096, 4096), true, 1<<20 + 4096},
		"preallocated": {rawFileExtent(2, 0, 1<<20, 8192, 0, 8192), true, 1 << 20},
		"compressed":   {rawFileExtent(1, 3, 1<<20, 4096, 8192, 4096), true, 1 << 20},
	} {
		f, ok, err := parseFileExtent(k, c.raw)
		if err != nil || ok != c.ok || f.physical != c.physical {
			t.Errorf("%s: %+v, %v, %v", name, f, ok, err)
		}
	}
	for name, raw := range map[string][]byte{
		"short":        make([]byte, 20),
		"regular, too": rawFileExtent(1, 0, 1<<20, 8192, 0, 8192)[:52],
		"no bytes":     rawFileExtent(1, 0, 1<<20, 8192, 0, 0),
		"huge":         rawFileExtent(1, 0, 1<<20, 8192, 0, 1<<63),
	} {
		if f, ok, err := parseFileExtent(k, raw); err == nil {
			t.Errorf("%s: %+v, %v", name, f, ok)
		}
	}
}

func rawChunk(length, stripeLength, flags uint64, sub uint16, stripes ...place) []byte {
	b := make([]byte, chunkSize)
	le.PutUint64(b, length)
	le.PutUint64(b[16:], stripeLength)
	le.PutUint64(b[24:], flags)
	le.PutUint16(b[44:], uint16(len(stripes)))
	le.PutUint16(b[46:], sub)
	for _, s := range stripes {
		b = append(le.AppendUint64(le.AppendUint64(b, s.device), s.offset), make([]byte, 16)...)
	}
	return b
}

func TestChunk(t *testing.T) {
	const k64, start = 64 << 10, 1 << 30
	four := []place{{1, 0}, {2, 0}, {3, 0}, {4, 1 << 20}}
	for name, c := range map[string]struct {
		flags  uint64
		at     uint64
		places []place
		left   uint64
	}{
		"copies":             {2, 5 * k64, []place{{1, 5 * k64}, {2, 5 * k64}, {3, 5 * k64}, {4, 1<<20 + 5*k64}}, 1<<20 - 5*k64},
		"raid0":              {raid0, 7*k64 + 4096, []place{{4, 1<<20 + k64 + 4096}}, k64 - 4096},
		"raid10":             {raid10, 3 * k64, []place{{3, k64}, {4, 1<<20 + k64}}, k64},
		"raid5":              {raid5, 4 * k64, []place{{3, k64}}, k64},
		"raid5, wraps":       {raid5, 5 * k64, []place{{4, 1<<20 + k64}}, k64},
		"raid6, second row":  {raid6, 3 * k64, []place{{3, k64}}, k64},
		"the end of a chunk": {raid0, 1<<20 - 4096, []place{{4, 1<<20 + 3*k64 + k64 - 4096}}, 4096},
	} {
		got, n, err := parseChunk(key{256, chunkItemKind, start}, rawChunk(1<<20, k64, c.flags, 2, four...))
		if err != nil || n != chunkSize+4*stripeSize {
			t.Errorf("%s: %d, %v", name, n, err)
			continue
		}
		places, left := got.locate(start + c.at)
		if diff := cmp.Diff(c.places, places, cmp.AllowUnexported(place{})); diff != "" || left != c.left {
			t.Errorf("%s: %d bytes left\n%s", name, left, diff)
		}
	}
	good := key{256, chunkItemKind, start}
	for name, c := range map[string]struct {
		k   key
		raw []byte
	}{
		"other kind":      {key{256, 1, start}, rawChunk(1<<20, k64, 2, 0, four...)},
		"cut short":       {good, rawChunk(1<<20, k64, 2, 0, four...)[:100]},
		"no stripes":      {good, rawChunk(1<<20, k64, 2, 0)},
		"no length":       {good, rawChunk(0, k64, 2, 0, four...)},
		"wraps":           {key{256, chunkItemKind, ^uint64(0) - 5}, rawChunk(1<<20, k64, 2, 0, four...)},
		"no stripe size":  {good, rawChunk(1<<20, 0, 2, 0, four...)},
		"raid10, 0 subs":  {good, rawChunk(1<<20, k64, raid10, 0, four...)},
		"raid5 on one":    {good, rawChunk(1<<20, k64, raid5, 0, four[0])},
		"raid6 on two":    {good, rawChunk(1<<20, k64, raid6, 0, four[:2]...)},
		"offset too high": {good, rawChunk(1<<20, k64, 2, 0, place{1, 1 << 61})},
	} {
		if got, _, err := parseChunk(c.k, c.raw); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestFindChunk(t *testing.T) {
	cs := chunks{{start: 300, length: 50}, {start: 100, length: 100}}
	cs.sort()
	for at, want := range map[uint64]uint64{100: 100, 199: 100, 200: 0, 99: 0, 0: 0, 300: 300, 349: 300, 350: 0, ^uint64(0): 0} {
		c, err := cs.find(at)
		if want == 0 && !errors.Is(err, errStale) || want != 0 && (err != nil || c.start != want) {
			t.Errorf("find %d: %+v, %v", at, c, err)
		}
	}
}

func TestParseRoot(t *testing.T) {
	b := make([]byte, 439)
	le.PutUint64(b[160:], 9)
	le.PutUint64(b[176:], 4096)
	b[238] = 2
	for refs, deleted := range map[uint32]bool{0: true, 1: false} {
		le.PutUint32(b[216:], refs)
		r, err := parseRoot(key{300, rootItemKind, 0}, b)
		if err != nil || r != (root{id: 300, top: pointer{4096, 9}, level: 2, deleted: deleted}) {
			t.Errorf("parseRoot: %+v, %v", r, err)
		}
	}
	b[238] = 8
	if r, err := parseRoot(key{300, rootItemKind, 0}, b); err == nil {
		t.Errorf("level 8: %+v", r)
	}
	if r, err := parseRoot(key{300, rootItemKind, 0}, b[:238]); err == nil {
		t.Errorf("cut short: %+v", r)
	}
	for id, want := range map[uint64]bool{0: false, 1: false, 4: false, 5: true, 6: false, 255: false, 256: true, 1 << 40: true, ^uint64(0): false, ^uint64(9) + 1: false, lastFree: true} {
		if got := isSubvolume(key{id, rootItemKind, 0}); got != want {
			t.Errorf("isSubvolume of %d: %v", id, got)
		}
	}
}

// The values are those of the specification's own test suite and of xxhsum.
func TestXXHash(t *testing.T) {
	for text, want := range map[string]uint64{
		"": 0xEF46DB3751D8E999, "a": 0xD24EC4F1A98C6E5B, "abc": 0x44BC2CF5AD770999,
		"Nobody inspects the spammish repetition": 0xFBCEA83C8A378BF1,
	} {
		if got := xxhash64([]byte(text)); got != want {
			t.Errorf("xxhash64 of %q: %#x, want %#x", text, got, want)
		}
	}
}

func FuzzSuper(f *testing.F) {
	b := make([]byte, superSize)
	copy(b[64:], superMagic)
	le.PutUint64(b[72:], 7)
	le.PutUint32(b[148:], 16384)
	array := append(rawKey(key{256, chunkItemKind, 1 << 20}), rawChunk(1<<20, 64<<10, 2, 0, place{1, 0})...)
	le.PutUint32(b[160:], uint32(len(array)))
	copy(b[arrayOffset:], array)
	f.Add(b)
	f.Add(b[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= superSize { // else the checksum is all that is tested
			le.PutUint16(b[196:], 0)
			le.PutUint32(b, crc32.Checksum(b[checksumSize:superSize], castagnoli))
			b = b[:superSize]
		}
		s, err := parseSuper(b)
		if err != nil {
			return
		}
		if s.nodesize < 4096 || s.rootLevel > maxLevel || s.chunkLevel > maxLevel {
			t.Errorf("%+v", s)
		}
		for _, c := range s.chunks {
			places, left := c.locate(c.start + c.length/2)
			if len(places) == 0 || left == 0 || left > c.length {
				t.Errorf("%+v: %v, %d", c, places, left)
			}
		}
	})
}

func FuzzBlock(f *testing.F) {
	data := rawFileExtent(1, 0, 1<<20, 8192, 4096, 4096)
	f.Add(append(rawItem(key{257, extentDataKind, 12288}, 25, 53), data...), uint32(1), 0)
	f.Add(append(rawKey(key{5, 1, 0}), make([]byte, 16)...), uint32(1), 1)
	f.Add([]byte{}, ^uint32(0), 0)
	f.Fuzz(func(t *testing.T, body []byte, n uint32, level int) {
		if len(body) > 4096-headerSize || level < 0 || level > maxLevel {
			return
		}
		b, err := parseBlock(rawBlock(4096, level, n, body), level)
		if err == nil && (len(b.children) > 4096/childSize || len(b.files) > 4096/itemSize || level > 0 && len(b.files) > 0) {
			t.Errorf("%+v", b)
		}
	})
}

func FuzzChunk(f *testing.F) {
	f.Add(uint64(1<<20), uint64(123), rawChunk(1<<20, 64<<10, raid10, 2, place{1, 0}, place{2, 0}))
	f.Add(uint64(1<<20), uint64(0), rawChunk(1<<20, 64<<10, raid6, 2, place{1, 0}, place{2, 0}, place{3, 0}))
	f.Fuzz(func(t *testing.T, start, at uint64, raw []byte) {
		c, n, err := parseChunk(key{256, chunkItemKind, start}, raw)
		if err != nil {
			return
		}
		places, left := c.locate(start + at%c.length)
		if n > len(raw) || left == 0 || left > c.length || len(places) == 0 {
			t.Errorf("%+v: %v, %d", c, places, left)
		}
	})
}

func FuzzFileExtent(f *testing.F) {
	f.Add(uint64(0), rawFileExtent(1, 0, 1<<20, 8192, 4096, 4096))
	f.Add(uint64(0), make([]byte, 21))
	f.Fuzz(func(t *testing.T, at uint64, raw []byte) {
		x, ok, err := parseFileExtent(key{257, extentDataKind, at}, raw)
		if ok && (err != nil || x.length == 0 || x.size == 0 || x.physical+x.length < x.physical) {
			t.Errorf("%+v, %v", x, err)
		}
	})
}

func FuzzRoot(f *testing.F) {
	f.Add(make([]byte, 439))
	f.Add(make([]byte, 238))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := parseRoot(key{256, rootItemKind, 0}, raw); err == nil && r.level > maxLevel {
			t.Errorf("%+v", r)
		}
	})
}
