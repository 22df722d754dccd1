package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"

	"poolctl/cmd/poolctl/internal/ask"
	"poolctl/pool"
)

// setupError is an input that ended before all questions were answered.
type setupError struct{ err error }

func (e *setupError) Error() string { return fmt.Sprintf("cannot set the host up: %v", e.err) }

func (e *setupError) Unwrap() error { return e.err }

// Hint says how not to be asked.
func (e *setupError) Hint() string { return "poolctl admin init --minimal asks nothing" }

// askInit asks what `lxd init` asks about storage and network.
func (e *env) askInit() (pool.InitOptions, error) {
	a := ask.New(e.stdin, e.stderr)
	var o pool.InitOptions
	err := askPool(a, &o)
	if err == nil {
		err = askNetwork(a, &o)
	}
	if err != nil {
		return o, &setupError{err}
	}
	return o, nil
}

func askPool(a *ask.Asker, o *pool.InitOptions) error {
	yes, err := a.Bool("Do you want to configure a new storage pool?", true)
	if err != nil || !yes {
		return err
	}
	if o.PoolName, err = a.String("Name of the new storage pool", initPool, notEmpty); err != nil {
		return err
	}
	create, err := a.Bool("Create a new BTRFS pool?", true)
	if err != nil {
		return err
	}
	if !create {
		o.PoolSource, err = a.String("Path of the empty directory or subvolume on btrfs to use", "", isDirectory)
		return err
	}
	device, err := a.Bool("Would you like to use an existing empty block device (e.g. a disk or partition)?", false)
	if err != nil {
		return err
	}
	if device {
		o.PoolSource, err = a.String("Path to the existing block device", "", isDevice)
		return err
	}
	if o.PoolSize, err = a.String("Size of the new pool's file (in GiB, or with a unit)", strconv.Itoa(initSizeGiB)+"GiB", isSize); err != nil {
		return err
	}
	if _, err := strconv.ParseFloat(o.PoolSize, 64); err == nil {
		o.PoolSize += "GiB"
	}
	return nil
}

func askNetwork(a *ask.Asker, o *pool.InitOptions) error {
	yes, err := a.Bool("Would you like to create a new local network bridge?", true)
	if err != nil || !yes {
		return err
	}
	if o.Network, err = a.String("What should the new bridge be called?", initNetwork, notEmpty); err != nil {
		return err
	}
	const how = "What IPv%d address should be used? (address and prefix length, \"auto\" or \"none\")"
	if o.IPv4, err = a.String(fmt.Sprintf(how, 4), initAddress, isAddress); err != nil {
		return err
	}
	o.IPv6, err = a.String(fmt.Sprintf(how, 6), initAddress, isAddress)
	return err
}

func notEmpty(s string) error {
	if s == "" {
		return errors.New("a name is needed")
	}
	return nil
}

// isDirectory and isDevice only catch a slip; what is there is looked at later.
func isDirectory(s string) error {
	if fi, err := os.Stat(s); err != nil || !fi.IsDir() {
		return fmt.Errorf("there is no directory %q", s)
	}
	return nil
}

func isDevice(s string) error {
	if fi, err := os.Stat(s); err != nil || fi.Mode()&fs.ModeType != fs.ModeDevice {
		return fmt.Errorf("there is no block device %q", s)
	}
	return nil
}

func isSize(s string) error {
	n, err := pool.ParseSize(s)
	if err == nil && n <= 0 {
		err = errors.New("a size is more than nothing")
	}
	return err
}

func isAddress(s string) error {
	if s == "auto" || s == "none" {
		return nil
	}
	_, err := netip.ParsePrefix(s)
	return err
}
