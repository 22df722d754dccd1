// Package binfmt says which programs of other architectures this machine runs by an
// interpreter that is registered with the kernel, such as qemu-user
// (Documentation/admin-guide/binfmt-misc.rst). It registers nothing itself.
package binfmt
