// Package output writes what a command found in the format that was asked for:
// table, compact, csv, json or yaml.
package output
