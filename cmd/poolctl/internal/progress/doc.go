// Package progress shows how far a long operation is: bars with rate and time
// left on a terminal, a line at the start and one at the end of each part
// elsewhere, or nothing.
package progress
