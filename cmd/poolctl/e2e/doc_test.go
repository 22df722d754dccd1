// Package e2e tests the built program from outside, on the real kernel: it runs the binary, and looks at the machine
// with the machine's own eyes (sysfs, mountinfo, procfs), never through poolctl's packages.
//
// It owns the journeys over several commands, bad input as a user sees it, what interrupts, kills and crashes leave, and
// the whole machine before and after (TestMain). What one package promises by itself is tested there. It also holds the
// module's import directions.
package e2e
