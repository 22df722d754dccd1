//go:build crashpoints

package crash

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// hits counts how often the point to crash at was reached; the mutex also keeps the lines of the trace whole.
var (
	mu   sync.Mutex
	hits int
)

// Point kills the process with SIGKILL when name is the one that POOLCTL_CRASH gives, and appends name to the file that
// POOLCTL_CRASH_TRACE gives (see the package comment). A trace that cannot be written panics: a test that sees no point
// would otherwise pass.
func Point(name string) {
	mu.Lock()
	defer mu.Unlock()
	if trace := os.Getenv("POOLCTL_CRASH_TRACE"); trace != "" {
		appendLine(trace, name)
	}
	want, count := os.Getenv("POOLCTL_CRASH"), 1
	if before, after, found := strings.Cut(want, ":"); found {
		n, err := strconv.Atoi(after)
		if err != nil || n < 1 {
			panic("POOLCTL_CRASH must be NAME or NAME:N, not " + want)
		}
		want, count = before, n
	}
	if want != name && want != "*" {
		return
	}
	if hits++; hits < count {
		return
	}
	// The kernel ends the process before kill(2) on itself returns to it; the loop says so to the reader.
	for {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			panic(err)
		}
	}
}

// appendLine adds line to the file at path in one write, so that lines of several processes do not mix.
func appendLine(path, line string) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		panic(err)
	}
	if _, err := f.WriteString(line + "\n"); err != nil {
		panic(err)
	}
	if err := f.Close(); err != nil {
		panic(err)
	}
}
