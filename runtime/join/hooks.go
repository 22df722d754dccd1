//go:build amd64 || arm64

package join

import _ "unsafe" // for linkname

// The fork hooks of the Go runtime; their documentation in runtime/proc.go says
// that they stay as they are for gVisor's sake (go.dev/issue/67401).

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// cloneArgs is struct clone_args of linux/sched.h, as of kernel 5.7.
type cloneArgs struct {
	flags      uint64
	pidfd      uint64
	childTID   uint64
	parentTID  uint64
	exitSignal uint64
	stack      uint64
	stackSize  uint64
	tls        uint64
	setTID     uint64
	setTIDSize uint64
	cgroup     uint64
}

// cloneChild makes a child by clone3 that runs childMain(p) on the stack of args.
// errno is 0 on success.
//
//go:noescape
func cloneChild(args *cloneArgs, size uintptr, p *plan) (pid, errno uintptr)

// cloneGrandchild is the same for grandchildMain.
//
//go:noescape
func cloneGrandchild(args *cloneArgs, size uintptr, p *plan) (pid, errno uintptr)

// cloneScript is the same for scriptMain.
//
//go:noescape
func cloneScript(args *cloneArgs, size uintptr, s *script) (pid, errno uintptr)
