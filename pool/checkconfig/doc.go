// Package checkconfig says what the running kernel has of what system containers
// and pools need: namespaces, cgroups, network devices, file systems, system
// calls. What can be tried is tried, for what a kernel was built with may be
// forbidden or missing as a module; the rest is read from the kernel's
// configuration, where that is found. The tries leave nothing behind: what they
// make, they make in namespaces that end with them.
package checkconfig
