package wait

import (
	"syscall"
	"unsafe"
)

// What package os/signal has from the Go runtime: that package comes later than
// this one. A signal that ends a process the runtime lets nobody block, so that
// there is no signalfd of it.

//go:linkname signalEnable os/signal.signal_enable
func signalEnable(sig uint32)

//go:linkname signalReceive os/signal.signal_recv
func signalReceive() uint32

// changedByte is the one in which an eventfd counts what was not SIGTERM.
const changedByte = 4

// catchTerm returns an eventfd that becomes readable at a SIGTERM, and at
// ProxiesChanged, which is counted in another byte of it. The signals
// that come with the end of a terminal or session, and those of a kill by group,
// are ignored.
func catchTerm() int {
	for _, sig := range [...]syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE} {
		ignore(sig)
	}
	fd, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if errno != 0 {
		return -1
	}
	go func() {
		term, changed := [8]byte{1}, [8]byte{changedByte: 1}
		for {
			switch signalReceive() {
			case uint32(syscall.SIGTERM):
				_, _ = syscall.Write(int(fd), term[:]) // it counts
			case uint32(ProxiesChanged):
				_, _ = syscall.Write(int(fd), changed[:])
			}
		}
	}()
	signalEnable(uint32(syscall.SIGTERM))
	signalEnable(uint32(ProxiesChanged))
	return int(fd)
}

// ignore is signal.Ignore, for good.
func ignore(sig syscall.Signal) {
	const sigIgn = 1
	action := struct { // struct sigaction of the kernel, for amd64 and arm64
		handler, flags, restorer uintptr
		mask                     uint64
	}{handler: sigIgn}
	_, _, _ = syscall.Syscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, unsafe.Sizeof(action.mask), 0, 0)
}
