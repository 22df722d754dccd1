package sendstream

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func testHeader(compression string) Header {
	return Header{
		Type: TypeInstance, Name: "c1", Date: time.Unix(1, 0).UTC(), Architecture: "x86_64", Compression: compression, Record: "{}",
		Parent: &Version{Snapshot: "s0", Subvolumes: []Subvolume{{Path: "/", UUID: "u0"}}},
		Versions: []Version{
			{Snapshot: "s1", Subvolumes: []Subvolume{{Path: "/", UUID: "u1"}, {Path: "/a b/c", ReadOnly: true, UUID: "u2"}}},
			{Subvolumes: []Subvolume{{Path: "/", UUID: "u3"}}},
		},
	}
}

// streams are what is written in the tests: one is more than a frame, one is empty.
var streams = []string{strings.Repeat("0123456789", 60_000), "", "three"}

func write(t testing.TB, compression string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(t.Context(), &b, testHeader(compression))
	for _, s := range streams {
		if err == nil {
			err = w.Stream(func(to io.Writer) error {
				_, err := io.WriteString(to, s)
				return err
			})
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read reads all of a file.
func read(t testing.TB, raw []byte) (out []string, err error) {
	t.Helper()
	r, err := NewReader(t.Context(), bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		s, err := r.Stream()
		if errors.Is(err, io.EOF) {
			return out, r.End()
		} else if err != nil {
			return out, err
		}
		data, err := io.ReadAll(s)
		if err != nil {
			return out, err
		}
		out = append(out, string(data))
	}
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []string{CompressionNone, CompressionZstd} {
		raw := write(t, c)
		got, err := read(t, raw)
		if err != nil || !slices.Equal(got, streams) {
			t.Fatalf("%s: %d streams, %v", c, len(got), err)
		}
		// Wherever it is cut off, and whatever byte is damaged, it is refused.
		step := max(1, len(raw)/200)
		for i := 0; i < len(raw); i += step {
			if _, err := read(t, raw[:i]); err == nil {
				t.Errorf("%s: cut off at %d", c, i)
			}
			damaged := bytes.Clone(raw)
			damaged[i] ^= 0x20
			if _, err := read(t, damaged); err == nil {
				t.Errorf("%s: damaged at %d", c, i)
			}
		}
		if _, err := read(t, append(bytes.Clone(raw), 0)); err == nil {
			t.Errorf("%s: with something behind its end", c)
		}
	}
	var b bytes.Buffer
	w, err := NewWriter(t.Context(), &b, testHeader(CompressionNone))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Stream(func(io.Writer) error { return nil }), w.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, b.Bytes()); !errors.Is(err, errCutOff) {
		t.Errorf("without all streams: %v", err)
	}
	if _, err := read(t, []byte("hello")); !errors.Is(err, ErrFormat) {
		t.Errorf("something else: %v", err)
	}
}

func TestHeaderRefused(t *testing.T) {
	for name, change := range map[string]func(*Header){
		"type":         func(h *Header) { h.Type = "machine" },
		"compression":  func(h *Header) { h.Compression = "rot13" },
		"name":         func(h *Header) { h.Name = "" },
		"record":       func(h *Header) { h.Record = "" },
		"size":         func(h *Header) { h.Size = -1 },
		"no state":     func(h *Header) { h.Versions = h.Versions[:1] },
		"no versions":  func(h *Header) { h.Versions = nil },
		"snapshot":     func(h *Header) { h.Type = TypeSnapshot },
		"twice":        func(h *Header) { h.Versions[0].Snapshot = "s0" },
		"parent":       func(h *Header) { h.Parent.Snapshot = "" },
		"no subvolume": func(h *Header) { h.Versions[0].Subvolumes = nil },
		"first":        func(h *Header) { h.Versions[0].Subvolumes[0].Path = "/x" },
		"dots":         func(h *Header) { h.Versions[0].Subvolumes[1].Path = "/../x" },
		"relative":     func(h *Header) { h.Versions[0].Subvolumes[1].Path = "x" },
		"path twice":   func(h *Header) { h.Versions[0].Subvolumes[1].Path = "/" },
		"NUL":          func(h *Header) { h.Versions[0].Subvolumes[1].Path = "/a\x00" },
	} {
		h := testHeader(CompressionNone)
		change(&h)
		if err := h.check(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzReader: whatever is read, it ends, with an error unless it is a whole file.
func FuzzReader(f *testing.F) {
	f.Add(write(f, CompressionNone)[:2000])
	f.Add(write(f, CompressionZstd))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _ = read(t, raw) // that it returns is the test
	})
}

// FuzzHeader: a header that is taken can be written, and is the same then.
func FuzzHeader(f *testing.F) {
	f.Add([]byte(`{"type":"instance","name":"c","compression":"none","record":"{}","versions":[{"snapshot":"","subvolumes":[{"path":"/","uuid":"u"}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := parseHeader(raw)
		if err != nil {
			return
		}
		for _, v := range h.Versions {
			for i, s := range v.Subvolumes {
				if (s.Path == "/") != (i == 0) || strings.Contains(s.Path, "..") && slices.Contains(strings.Split(s.Path, "/"), "..") {
					t.Errorf("a subvolume at %q", s.Path)
				}
			}
		}
	})
}
