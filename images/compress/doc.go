// Package compress recognises the file formats that images come in by their
// magic bytes and decompresses them while they stream in.
//
// It owns the choice of decompressor: the xz program where it is installed
// (several threads, and at its side in another process), a pure Go decoder where
// it is not; gzip, zstd, bzip2 and lz4 in Go, ahead of the reader in a goroutine;
// lzma by the xz program. NewWriter is the other direction.
// It does not know what is inside.
package compress
