// Command poolctl manages pools of system containers, each pool one file,
// without a daemon. This package is its command line only: a file per command
// with the command's flags, one call of package pool, and what is shown of the
// answer. Data goes to standard output, all else to standard error; the exit
// code is 0 when done, 1 when failed, 2 for a command line that cannot be
// understood, and that of the command inside for exec.
package main
