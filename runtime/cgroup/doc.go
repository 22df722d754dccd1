// Package cgroup makes, fills, measures and removes the control groups of one
// instance, in every hierarchy that the host has mounted: pure v2, pure v1, and
// the hybrid of both (Documentation/admin-guide/cgroup-v2.rst and
// cgroup-v1/cgroups.rst of the kernel).
//
// It is not a layer over github.com/opencontainers/cgroups, because three things
// are needed here that its managers do not offer: descriptors opened ahead of
// time, for a child process that can only make raw system calls (see package
// join); delegation, the change of ownership that lets the instance's own init
// manage the groups below its own; and the named systemd hierarchy and the
// unified one side by side. Limits can still be set by that package on the same
// paths.
//
// It knows nothing of instances, processes or namespaces. Nothing is remembered
// between calls: the kernel's files are the state.
package cgroup
