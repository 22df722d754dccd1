package extents

import (
	"encoding/binary"
	"math/bits"
)

// The primes of XXH64 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md).
const (
	prime1 uint64 = 0x9E3779B185EBCA87
	prime2 uint64 = 0xC2B2AE3D27D4EB4F
	prime3 uint64 = 0x165667B19E3779F9
	prime4 uint64 = 0x85EBCA77C2B2AE63
	prime5 uint64 = 0x27D4EB2F165667C5
)

// xxhash64 is XXH64 with seed 0, one of btrfs's checksums, as its specification
// has it.
func xxhash64(data []byte) uint64 {
	total := uint64(len(data))
	acc := prime5
	if len(data) >= 32 {
		lanes := [4]uint64{0, prime2, 0, 0}
		lanes[0] = lanes[1] + prime1 // constants would overflow
		lanes[3] -= prime1
		for ; len(data) >= 32; data = data[32:] {
			for i := range lanes {
				lanes[i] = xxround(lanes[i], binary.LittleEndian.Uint64(data[8*i:]))
			}
		}
		acc = bits.RotateLeft64(lanes[0], 1) + bits.RotateLeft64(lanes[1], 7) + bits.RotateLeft64(lanes[2], 12) + bits.RotateLeft64(lanes[3], 18)
		for _, l := range lanes {
			acc = (acc^xxround(0, l))*prime1 + prime4
		}
	}
	acc += total
	for ; len(data) >= 8; data = data[8:] {
		acc = bits.RotateLeft64(acc^xxround(0, binary.LittleEndian.Uint64(data)), 27)*prime1 + prime4
	}
	if len(data) >= 4 {
		acc = bits.RotateLeft64(acc^uint64(binary.LittleEndian.Uint32(data))*prime1, 23)*prime2 + prime3
		data = data[4:]
	}
	for _, b := range data {
		acc = bits.RotateLeft64(acc^uint64(b)*prime5, 11) * prime1
	}
	acc = (acc ^ acc>>33) * prime2
	acc = (acc ^ acc>>29) * prime3
	return acc ^ acc>>32
}

func xxround(acc, lane uint64) uint64 {
	return bits.RotateLeft64(acc+lane*prime2, 31) * prime1
}
