// Package table writes rows of text as the clients of LXD and Incus do: boxed
// with a line between all rows, compact without any, or as CSV; and sorts rows
// as they do.
package table
