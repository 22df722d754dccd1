// Package match holds the filters of `list` and `image list`, with the rules of
// lxc and incus.
package match
