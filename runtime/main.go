package runtime

import (
	"os"
	goruntime "runtime"

	"poolctl/runtime/stage"
)

// The names, as argv[0], under which this program executes itself. They show in
// the host's process list, the others for an instant.
const (
	supervisorName = "poolctl-supervisor"
	stageName      = "poolctl-stage"
	mountsName     = "poolctl-mounts"
	upkeepName     = "poolctl-upkeep"
	joinName       = "poolctl-join"
)

func reexecuted() string {
	if len(os.Args) > 0 {
		switch os.Args[0] {
		case supervisorName, stageName, mountsName, upkeepName, joinName:
			return os.Args[0]
		}
	}
	return ""
}

// init binds the main goroutine to the main thread: namespaces, credentials and
// the parent-death signal belong to threads, and the main one lives as long as
// its process.
func init() {
	if name := reexecuted(); name != "" && name != upkeepName {
		goruntime.LockOSThread()
	}
}

// Main runs the supervisor or the stage when this process was executed as one
// by this package, and does not return then. Otherwise it returns at once. It
// must be the first thing that main (or TestMain) does. The upkeep is for
// instances whose Spec asks for one.
func Main(upkeep Upkeep) {
	switch reexecuted() {
	case supervisorName:
		os.Exit(supervise(upkeep))
	case upkeepName:
		os.Exit(runUpkeep(upkeep))
	case stageName:
		stage.Run()
		os.Exit(1)
	case joinName:
		os.Exit(runJoin())
	case mountsName:
		stage.RunHelper()
		os.Exit(0)
	}
}
