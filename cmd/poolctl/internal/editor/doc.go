// Package editor lets the user change a text, in an editor on a terminal or by
// giving another one on the input.
package editor
