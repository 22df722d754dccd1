package squashfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/images/internal/testtree"
)

// xzProgram is what xz(1) makes of content.
func xzProgram(t *testing.T, content []byte) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "xz", "-cq", "--check=crc32")
	cmd.Stdin = bytes.NewReader(content)
	b, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestShard: what is used again shows nothing of what it had before, zeros neither,
// and a stream that is longer than it was said to be takes no more memory.
func TestShard(t *testing.T) {
	path, err := exec.LookPath("xz")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newShard()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	noise := bytes.Repeat([]byte("noise"), 20_000)
	for _, c := range []struct {
		content []byte
		length  int
		want    error
	}{
		{noise, len(noise), nil},
		{make([]byte, 100_000), 100_000, nil},
		{make([]byte, 8*shardSize), 100_000, errTooLong},
		{noise, len(noise) - 1, errTooLong},
		{noise[:50_000], 50_000, nil},
		{make([]byte, shardSize), shardSize, nil},
	} {
		s.blocks, s.stored, s.length = nil, 0, 0
		if err := s.add(&job{src: xzProgram(t, c.content)}, c.length); err != nil {
			t.Fatal(err)
		}
		if err := s.decode(t.Context(), path, false); !errors.Is(err, c.want) {
			t.Errorf("%d bytes as %d: %v", len(c.content), c.length, err)
		} else if err == nil && !bytes.Equal(s.plain[:c.length], c.content) {
			t.Errorf("%d bytes: other content", len(c.content))
		}
		if st, err := s.out.Stat(); err != nil || st.Size() != int64(len(s.plain)) {
			t.Errorf("%d bytes: %v, %v", len(c.content), st, err)
		}
	}
}

// TestVouched: the check of an xz block is verified unless the whole file is.
func TestVouched(t *testing.T) {
	testtree.NeedRoot(t)
	b, err := os.ReadFile(pack(t, shell(t, "yes 1 | head -c 131072 > a"), "-comp", "xz", "-no-fragments"))
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("\xfd7zXZ\x00"))
	end := at + bytes.Index(b[at:], []byte("YZ")) + 2
	index := end - xzFooterSize - (int(binary.LittleEndian.Uint32(b[end-8:]))+1)*4
	b[index-1] ^= 1 // of the CRC32 in front of it
	for _, vouched := range []bool{false, true} {
		dir := t.TempDir()
		r := bytes.NewReader(b)
		_, err := (&Unpacker{Vouched: vouched}).Unpack(t.Context(), r, r, openDir(t, dir))
		if (err == nil) != vouched {
			t.Errorf("vouched %v: %v", vouched, err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "a")); vouched && (err != nil || string(got) != strings.Repeat("1\n", 65536)) {
			t.Errorf("it has %d bytes, %v", len(got), err)
		}
	}
}

// TestShardLimit: the last shards are small, so that no worker has a large one to itself while the others have ended.
func TestShardLimit(t *testing.T) {
	const size, workers = 128 << 10, 4
	count, last := 0, shardSize
	for left := 1800; left > 0; count++ {
		limit := shardLimit(left, workers, size)
		if limit > last || limit < leastShard {
			t.Fatalf("with %d blocks left %d bytes after %d", left, limit, last)
		}
		left, last = left-max(limit/size, 1), limit
	}
	if last > leastShard || count > 1800*size/shardSize+12 {
		t.Errorf("%d shards, the last of %d bytes", count, last)
	}
	if got := shardLimit(3, 12, 1<<20); got != leastShard {
		t.Errorf("of the last blocks of 1 MiB: %d bytes", got)
	}
}
