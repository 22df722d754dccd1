//go:build !crashpoints

package crash

import "testing"

// TestPointDoesNothing pins that a normal build ignores the variables: a user's environment must not kill a command.
func TestPointDoesNothing(t *testing.T) {
	t.Setenv("POOLCTL_CRASH", "here")
	t.Setenv("POOLCTL_CRASH_TRACE", "/nonexistent/trace")
	Point("here")
}
