package seccomp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// abi is a system call convention.
type abi struct {
	name    string   // as the kernel calls the architecture
	aliases []string // other names, of LXC's policies
	arch    uint32   // seccomp_data.arch
	numbers func() map[string]uint32
}

// abis are all that there is a table of.
func abis() []abi {
	return []abi{
		{"x86_64", []string{"amd64"}, unix.AUDIT_ARCH_X86_64, numbersX8664},
		{"i386", []string{"x86", "i686", "386"}, unix.AUDIT_ARCH_I386, numbersI386},
		{"aarch64", []string{"arm64"}, unix.AUDIT_ARCH_AARCH64, numbersAArch64},
		{"arm", []string{"armv7l", "armhf"}, unix.AUDIT_ARCH_ARM, numbersARM},
	}
}

var (
	numbersX8664   = sync.OnceValue(func() map[string]uint32 { return readTable(tableX8664) })
	numbersI386    = sync.OnceValue(func() map[string]uint32 { return readTable(tableI386) })
	numbersAArch64 = sync.OnceValue(func() map[string]uint32 { return readTable(tableAArch64) })
	numbersARM     = sync.OnceValue(func() map[string]uint32 { return readTable(tableARM) })
)

// readTable reads lines of a name and a number.
func readTable(text string) map[string]uint32 {
	m := make(map[string]uint32, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		name, number, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			panic("seccomp: the generated table is damaged: " + err.Error())
		}
		m[name] = uint32(n)
	}
	return m
}

// machine is what programs can run on a processor: its own convention first, then
// that of 32-bit programs.
type machine [2]string

// machines are those that poolctl is built for, by GOARCH.
func machines() map[string]machine {
	return map[string]machine{"amd64": {"x86_64", "i386"}, "arm64": {"aarch64", "arm"}}
}

// findABI is the name of an architecture of a policy; "" for all.
func findABI(name string) (string, error) {
	if name == "all" {
		return "", nil
	}
	for _, a := range abis() {
		if name == a.name || slices.Contains(a.aliases, name) {
			return a.name, nil
		}
	}
	return "", fmt.Errorf("there is no architecture %q: want all, x86_64, i386, aarch64 or arm", name)
}

// known says whether any convention has a system call of that name.
func known(name string) bool {
	for _, a := range abis() {
		if _, ok := a.numbers()[name]; ok {
			return true
		}
	}
	return false
}
