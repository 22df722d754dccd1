// Package images turns image files into directories: it verifies and unpacks
// them while they stream in, reads their metadata.yaml and applies their
// templates to an instance.
//
// It works on directories and streams: where images come from (package remotes),
// where they are kept (package pool) and what runs them (package runtime) is none
// of its business. Everything that comes out of an image is untrusted; see the
// packages below for how: tarball and squashfs write nothing outside of the
// directory they are given, template bounds what a template may cost.
//
// An unpacked image is a directory with metadata.yaml, templates/ and rootfs/, as
// LXD and Incus lay it out.
package images
