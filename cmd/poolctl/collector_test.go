package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// Garbage is collected for the first time when there is some, and from then on as in any process.
func TestCollectLate(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent); debug.SetMemoryLimit(limit) })
	runtime.GC()
	collectLate()
	var before, m runtime.MemStats
	runtime.ReadMemStats(&before)
	var kept []byte
	for m.HeapAlloc < before.HeapAlloc+firstCollection/4 { // far beyond the 4 MiB at which it would be done otherwise
		kept = make([]byte, 64<<10)
		runtime.ReadMemStats(&m)
		if m.NumGC != before.NumGC {
			break
		}
	}
	if before.HeapAlloc < firstCollection/2 && m.NumGC != before.NumGC {
		t.Errorf("collected with %d bytes", m.HeapAlloc)
	}
	runtime.GC()
	deadline := time.Now().Add(10 * time.Second)
	for debug.SetMemoryLimit(-1) != memoryGoal && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if got := debug.SetMemoryLimit(-1); got != memoryGoal {
		t.Errorf("the limit stays at %d", got)
	}
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("the percentage stays at %d", got)
	}
	runtime.KeepAlive(kept)
}
