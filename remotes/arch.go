package remotes

import (
	"fmt"

	"github.com/lxc/lxd/shared/osarch"
)

// NativeArch is the machine's architecture by the kernel's name, "x86_64".
func NativeArch() string {
	name, err := osarch.ArchitectureGetLocal()
	if err != nil {
		return osarch.ArchitectureDefault
	}
	if k, ok := Arch(name); ok {
		return k
	}
	return name
}

// Arch gives the kernel's name ("x86_64") of an architecture named in any way
// that LXD and Incus know ("amd64", "x86_64", "generic_64"), and whether it is
// known at all.
func Arch(name string) (kernelName string, ok bool) {
	id, err := osarch.ArchitectureId(name)
	if err != nil {
		return "", false
	}
	kernelName, err = osarch.ArchitectureName(id)
	return kernelName, err == nil
}

// RunnableArchs lists the architectures, by the kernel's names, whose programs this
// machine runs without emulation, its own first. Whether the kernel does so for the
// others depends on how it was built.
func RunnableArchs() []string { return runnable(NativeArch()) }

// runnable lists the architectures whose programs a machine of the given one
// runs without emulation, itself first (personality(2): i686 on x86_64).
func runnable(native string) []string {
	archs := []string{native}
	id, err := osarch.ArchitectureId(native)
	if err != nil {
		return archs
	}
	ids, err := osarch.ArchitecturePersonalities(id)
	if err != nil {
		return archs
	}
	for _, id := range ids {
		if name, err := osarch.ArchitectureName(id); err == nil {
			archs = append(archs, name)
		}
	}
	return archs
}

// archCache remembers Arch, which walks maps, for one catalogue.
type archCache map[string]string

// name is Arch with "" for unknown.
func (c archCache) name(product string) string {
	k, seen := c[product]
	if !seen {
		k, _ = Arch(product)
		c[product] = k
	}
	return k
}

// wantArchs turns Want.Arch into the architectures to try, in order.
func wantArchs(arch, native string) ([]string, error) {
	if arch == "" {
		return runnable(native), nil
	}
	k, ok := Arch(arch)
	if !ok {
		return nil, fmt.Errorf("unknown architecture %q", arch)
	}
	return []string{k}, nil
}

// DebianArch gives Debian's name ("amd64") of an architecture by the kernel's
// name, as image servers use it; what has none there keeps its own.
func DebianArch(kernelName string) string {
	switch kernelName {
	case "x86_64":
		return "amd64"
	case "i686":
		return "i386"
	case "aarch64":
		return "arm64"
	case "armv7l", "armv8l":
		return "armhf"
	case "armv6l":
		return "armel"
	case "ppc":
		return "powerpc"
	case "ppc64le":
		return "ppc64el"
	}
	return kernelName
}
