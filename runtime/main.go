package runtime

import (
	"os"
	goruntime "runtime"

	"poolctl/runtime/stage"
	"poolctl/runtime/wait"
)

// The names, as argv[0], under which this program executes itself. They show in
// the host's process list, the others than the supervisor's for an instant.
const (
	stageName  = "poolctl-stage"
	mountsName = "poolctl-mounts"
	joinName   = "poolctl-join"
	idleName   = "poolctl-idle"
)

func reexecuted() string {
	if len(os.Args) > 0 {
		switch os.Args[0] {
		case wait.Name, wait.UpkeepName, wait.StopperName, wait.ProxiesName, stageName, mountsName, joinName, idleName:
			return os.Args[0]
		}
	}
	return ""
}

// init binds the main goroutine to the main thread: namespaces, credentials and
// the parent-death signal belong to threads, and the main one lives as long as
// its process.
func init() {
	switch reexecuted() {
	case wait.Name, stageName, mountsName, joinName, idleName:
		goruntime.LockOSThread()
	}
}

// Main runs the supervisor or the stage when this process was executed as one
// by this package, and does not return then. Otherwise it returns at once. It
// must be the first thing that main (or TestMain) does. The hooks are for
// instances whose Spec asks for them.
func Main(hooks Hooks) {
	switch reexecuted() {
	case wait.Name:
		os.Exit(supervise(hooks))
	case wait.UpkeepName:
		os.Exit(runUpkeep(hooks))
	case wait.StopperName:
		os.Exit(runStopper())
	case wait.ProxiesName:
		os.Exit(runProxies())
	case stageName:
		stage.Run()
		os.Exit(1)
	case idleName:
		runIdle()
	case joinName:
		os.Exit(runJoin())
	case mountsName:
		stage.RunHelper()
		os.Exit(0)
	}
}
