package btrfs

import (
	"encoding/binary"
	"testing"
)

func FuzzParseRootRef(f *testing.F) {
	ref := binary.LittleEndian.AppendUint16(make([]byte, 16), 3)
	f.Add(append(ref, "a b"...))
	f.Add(append(ref, "a/b"...))
	f.Add(append(ref, "..."...))
	f.Add(ref)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, name, err := parseRootRef(data)
		if err == nil && checkName(name) != nil {
			t.Errorf("accepted the name %q", name)
		}
	})
}

func FuzzParseRootItem(f *testing.F) {
	for _, size := range []int{0, 238, 239, 374, 375, 439, 500} {
		f.Add(make([]byte, size))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := parseRootItem(data); (err == nil) != (len(data) >= 239) {
			t.Errorf("%d bytes: %+v, %v", len(data), s, err)
		}
	})
}

func FuzzParseItems(f *testing.F) {
	item := make([]byte, 35)
	binary.NativeEndian.PutUint32(item[28:], 3)
	f.Add(item, uint32(1))
	f.Add(item, uint32(2))
	f.Add([]byte{}, ^uint32(0))
	f.Fuzz(func(t *testing.T, buf []byte, n uint32) {
		total := 0
		err := parseItems(buf, n, func(_ itemHeader, data []byte) error {
			total += headerSize + len(data)
			return nil
		})
		if total > len(buf) || err == nil && n > uint32(len(buf)/headerSize) {
			t.Errorf("%d items of %d bytes in %d: %v", n, total, len(buf), err)
		}
	})
}
