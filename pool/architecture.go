package pool

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"poolctl/images"
	"poolctl/remotes"
	"poolctl/runtime/binfmt"
)

// checkArch refuses an image that this machine cannot run: one that is neither for
// its own architecture, nor for one that the kernel runs too (i686 on x86_64), nor
// for one that binfmt_misc has an interpreter for which is found within any root
// (flag F). linux32 says that its programs are to see a 32-bit machine.
func checkArch(ctx context.Context, arch string) (linux32 bool, err error) {
	native := remotes.NativeArch()
	if known, ok := images.KernelArchitecture(arch); ok {
		arch = known
	}
	if arch == "" || arch == native {
		return false, nil
	}
	if slices.Contains(remotes.RunnableArchs(), arch) && binfmt.Executes(ctx, arch) {
		return true, nil
	}
	handlers, err := binfmt.Handlers()
	if err != nil {
		return false, err
	}
	hint := fmt.Sprintf("take the image for %s, or register an interpreter for %s with binfmt_misc, with flag F (Debian and Ubuntu: the package qemu-user-static)", native, arch)
	for _, h := range handlers {
		switch {
		case !h.Runs(arch):
		case h.Enabled && h.Fixed:
			return false, nil
		case !h.Fixed:
			hint = fmt.Sprintf("the interpreter %s of binfmt_misc (%s) has no flag F, without which it is not found in the instance", h.Interpreter, h.Name)
		default:
			hint = fmt.Sprintf("the interpreter %s of binfmt_misc (%s) is disabled", h.Interpreter, h.Name)
		}
	}
	runs := native
	if also := slices.DeleteFunc(remotes.RunnableArchs()[1:], func(a string) bool { return a == arch || !binfmt.Executes(ctx, a) }); len(also) > 0 {
		runs += " (which runs " + strings.Join(also, ", ") + " too)"
	}
	return false, withHint(fmt.Errorf("its image is for %s, and this machine is %s", arch, runs), "%s", hint)
}
