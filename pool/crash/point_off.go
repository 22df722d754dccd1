//go:build !crashpoints

package crash

// Point marks a place where a test may kill the process. It does nothing in this build (see the package comment).
func Point(string) {}
