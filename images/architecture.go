package images

// KernelArchitecture gives the kernel's name of an architecture (uname -m) for
// any of the names in use: Debian's, Go's, Docker's (LXD's shared/osarch and
// Incus's, list of names and aliases).
func KernelArchitecture(name string) (string, bool) {
	switch name {
	case "i686", "i386", "i586", "386", "x86", "generic_32":
		return "i686", true
	case "x86_64", "amd64", "generic_64":
		return "x86_64", true
	case "armv6l", "armel", "arm":
		return "armv6l", true
	case "armv7l", "armhf", "armhfp", "armv7a_hardfp", "armv7", "armv7a_vfpv3_hardfp":
		return "armv7l", true
	case "armv8l":
		return "armv8l", true
	case "aarch64", "arm64", "arm64_generic":
		return "aarch64", true
	case "ppc", "powerpc":
		return "ppc", true
	case "ppc64", "powerpc64":
		return "ppc64", true
	case "ppc64le", "ppc64el", "powerpc64le":
		return "ppc64le", true
	case "mips", "mipsel":
		return "mips", true
	case "mips64", "mips64el":
		return "mips64", true
	case "riscv32", "riscv64", "s390x", "loongarch64":
		return name, true
	case "riscv64gc":
		return "riscv64", true
	case "loong64":
		return "loongarch64", true
	}
	return "", false
}
