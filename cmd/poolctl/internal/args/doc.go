// Package args reads a command line as lxc and incus read theirs and rewrites
// it into the form that urfave/cli/v2 understands.
//
// That package stops looking for flags at the first argument that is none;
// users of lxc and incus put flags anywhere: `list c1 --format csv`. Canonical
// walks the tree of commands, finds every flag wherever it stands, and puts all
// of them, in the form --name=value, before the arguments. It also finds
// unknown commands and flags and proposes the ones that were meant.
//
// The package runs no command and checks no value; the cli package does.
package args
