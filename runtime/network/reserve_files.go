package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// hostsDir has one file per reservation, which dnsmasq reads as well
// (--dhcp-hostsdir).
func (b Bridge) hostsDir() string { return filepath.Join(b.Dir, "hosts") }

// tempPrefix begins the names of files being written; dnsmasq leaves out
// names that begin with a dot.
const tempPrefix = ".new-"

// Reservations lists the reservations in no particular order.
func (b Bridge) Reservations() ([]Reservation, error) {
	all, _, err := b.readReservations(false)
	if err != nil {
		return nil, fmt.Errorf("cannot list the reservations of network %s: %w", b.Name, err)
	}
	list := make([]Reservation, 0, len(all))
	for _, r := range all {
		list = append(list, r)
	}
	return list, nil
}

// lockHosts makes the directory of the reservations and serialises changes in
// it between processes. It is held for a few file operations only.
func (b Bridge) lockHosts() (func(), error) {
	dirs := []string{b.hostsDir()}
	if b.DNSMode == DNSManaged {
		dirs = append(dirs, b.namesDir())
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	l := flock.New(filepath.Join(b.Dir, ".hosts.lock"))
	if err := l.Lock(); err != nil {
		return nil, fmt.Errorf("cannot lock the reservations: %w", err)
	}
	return func() { _ = l.Close() }, nil // closing the file gives up the lock, whatever it returns
}

// readReservations reads all reservations and their files, by hardware address. With
// clean, for which the lock must be held, it removes what a killed process or a power
// loss left half written.
func (b Bridge) readReservations(clean bool) (all map[string]Reservation, texts map[string][]byte, err error) {
	files, err := readSmallFiles(b.hostsDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	all, texts = map[string]Reservation{}, map[string][]byte{}
	for name, data := range files {
		path := filepath.Join(b.hostsDir(), name)
		// A file system may have a renamed file before its content.
		if strings.HasPrefix(name, tempPrefix) || len(bytes.Trim(data, "\x00")) == 0 {
			if clean {
				err = os.Remove(path)
			}
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, nil, err
			}
			continue
		}
		r, err := parseReservation(data)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read %s: %w", path, err)
		}
		all[r.HWAddr], texts[r.HWAddr] = r, data
	}
	return all, texts, nil
}

// writeReservation replaces one reservation's file.
func (b Bridge) writeReservation(r Reservation) error {
	return replaceFile(b.hostsDir(), r.HWAddr, r.format(b.DNSMode == DNSManaged))
}

// replaceFile replaces a file of a directory: written aside, then renamed. Nothing
// waits for the disk, which would be most of what a start spends on the network: a
// reservation that a power loss takes, readReservations leaves out, and the next
// start makes it again, with the same addresses unless another has got them since.
func replaceFile(dir, name string, data []byte) (err error) {
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	// dnsmasq reads it without root's rights.
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// reloadDnsmasq makes a running dnsmasq read the reservations again (SIGHUP, see
// man dnsmasq, NOTES). It sees new files by itself, but neither removed nor
// changed ones. One that is just starting is left alone: it has yet to read
// them, and the signal would end it before it has set its handler.
func (b Bridge) reloadDnsmasq() error {
	p, err := b.servingDnsmasq()
	if err != nil || p == nil {
		return err
	}
	defer p.Close()
	return p.signal(context.Background(), unix.SIGHUP)
}
