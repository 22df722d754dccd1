// Package crash names the points of a multi-step change at which a crash must leave the old state or the new one.
//
// A normal build makes Point a function that does nothing. A build with the tag "crashpoints" reads two environment
// variables, so that a test can kill the process at each point in turn and then look at what the next command makes of it:
//
//   - POOLCTL_CRASH=NAME or NAME:N sends SIGKILL to the process itself at the N-th hit (1 when N is left out) of the
//     point NAME; the name * stands for every point;
//   - POOLCTL_CRASH_TRACE=FILE appends the name of every point that is hit to FILE, one on each line, which is how a
//     test learns the points of an operation.
//
// The package owns nothing else: what is finished or undone after a crash is the business of the package that has the
// point.
package crash
