package squashfs

import (
	"bytes"
	"errors"
	"os/exec"
	"testing"
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
		if err := s.decode(t.Context(), path); !errors.Is(err, c.want) {
			t.Errorf("%d bytes as %d: %v", len(c.content), c.length, err)
		} else if err == nil && !bytes.Equal(s.plain[:c.length], c.content) {
			t.Errorf("%d bytes: other content", len(c.content))
		}
		if st, err := s.out.Stat(); err != nil || st.Size() != int64(len(s.plain)) {
			t.Errorf("%d bytes: %v, %v", len(c.content), st, err)
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
