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
)

func reexecuted() string {
	if len(os.Args) > 0 && (os.Args[0] == supervisorName || os.Args[0] == stageName || os.Args[0] == mountsName) {
		return os.Args[0]
	}
	return ""
}

// init binds the main goroutine to the main thread: namespaces, credentials and
// the parent-death signal belong to threads, and the main one lives as long as
// its process.
func init() {
	if reexecuted() != "" {
		goruntime.LockOSThread()
	}
}

// Main runs the supervisor or the stage when this process was executed as one
// by this package, and does not return then. Otherwise it returns at once. It
// must be the first thing that main (or TestMain) does.
func Main() {
	switch reexecuted() {
	case supervisorName:
		os.Exit(supervise())
	case stageName:
		stage.Run()
		os.Exit(1)
	case mountsName:
		stage.RunHelper()
		os.Exit(0)
	}
}
