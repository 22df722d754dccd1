package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/pool"
)

// inputHelp is what the help of create and launch says of putOnInput.
const inputHelp = "A file on the\ninput (< FILE, not a pipe) is YAML like that of `config show`: configuration, devices, profiles, ephemeral, description.\n" +
	"Flags go before it, and its keys volatile.* are left out."

// putOnInput reads what a file on the input says of a new instance, as incus init
// does. Only a regular file that nobody has read of yet is taken: a pipe may never
// end, and in `while read NAME; do poolctl create IMAGE $NAME; done < LIST` the
// rest of the list is for the shell.
func putOnInput(stdin *os.File) (pool.InstancePut, error) {
	info, err := stdin.Stat()
	if errors.Is(err, unix.EBADF) || err == nil && !info.Mode().IsRegular() { // it may be closed
		return pool.InstancePut{}, nil
	} else if err != nil {
		return pool.InstancePut{}, fmt.Errorf("cannot read the input: %w", err)
	}
	if at, err := stdin.Seek(0, io.SeekCurrent); err != nil || at != 0 {
		return pool.InstancePut{}, err
	}
	text, err := io.ReadAll(io.LimitReader(stdin, maxValue+1))
	if err == nil && len(text) > maxValue {
		err = fmt.Errorf("it is larger than %d bytes", maxValue)
	}
	if err != nil {
		return pool.InstancePut{}, err
	}
	put, err := readInstancePut(text)
	switch {
	case errors.Is(err, errEmptyText):
		err = nil
	case err == nil && put.Stateful:
		err = errors.New("stateful: an instance's memory cannot be kept")
	}
	// They are what another instance has been given: addresses, ids.
	maps.DeleteFunc(put.Config, func(k, _ string) bool { return strings.HasPrefix(k, "volatile.") })
	return put, err
}

// merged is base with over laid over it.
func merged(base, over map[string]string) map[string]string {
	if len(base) == 0 {
		return over
	}
	maps.Copy(base, over)
	return base
}
