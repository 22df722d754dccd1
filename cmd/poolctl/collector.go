package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// memoryGoal is what the garbage collector keeps the process's memory below, in bytes, as long as less is in use: large
	// catalogues and archives are read in pieces of which most is garbage at once. $GOMEMLIMIT sets another one.
	memoryGoal = 128 << 20
	// firstCollection is how much memory the process has, in bytes, when garbage is collected for the first time: most commands
	// end before.
	firstCollection = 24 << 20
)

// collectLate sets the garbage collector up for a process that is likely to end soon. $GOGC has the first collection when it
// says.
func collectLate() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if os.Getenv("GOGC") != "" {
		debug.SetMemoryLimit(memoryGoal)
		return
	}
	percent := debug.SetGCPercent(-1)
	debug.SetMemoryLimit(firstCollection)
	// It is gone after the first collection.
	runtime.AddCleanup(new([16]byte), func(percent int) {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(memoryGoal)
	}, percent)
}
