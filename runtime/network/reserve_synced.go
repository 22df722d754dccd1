package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The file syncedFile says that all reservations were found to be those of the network
// as it is: which network that was, and when their directories were changed last. So a
// start needs not read all of them for it. It is not there while they are changed, and
// counts for this boot of the host only: a power loss may have taken files.

func (b Bridge) syncedFile() string { return filepath.Join(b.RunDir, "reservations.synced") }

// syncedState is what the file says when all is so.
func (b Bridge) syncedState() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	text := fmt.Sprintln(b.IPv4, b.IPv6, b.DHCP4, b.DHCP6, b.Stateful6, b.Ranges4, b.Ranges6, b.Gateway4, b.DNSMode, b.domain(), b.EtcHosts) + string(boot)
	for _, dir := range []string{b.hostsDir(), b.namesDir()} {
		fi, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue // no names are wanted
		}
		if err != nil {
			return "", err
		}
		text += fmt.Sprintln(fi.ModTime().UnixNano())
	}
	return text, nil
}

// isSynced says whether it is known that nothing is to be done. Of names in the host's
// own file it never is: anybody changes that.
func (b Bridge) isSynced() (bool, error) {
	if b.EtcHosts {
		return false, nil
	}
	have, err := os.ReadFile(b.syncedFile())
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	want, err := b.syncedState()
	return err == nil && string(have) == want, err
}

func (b Bridge) noteSynced() error {
	text, err := b.syncedState()
	if err == nil {
		err = os.MkdirAll(b.RunDir, 0o755)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(b.syncedFile(), []byte(text), 0o644)
}

func (b Bridge) forgetSynced() error {
	if err := os.Remove(b.syncedFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// changeReservations calls do, which changes reservations together with all that
// belongs to them.
func (b Bridge) changeReservations(do func() error) error {
	was, err := b.isSynced()
	if err == nil {
		err = b.forgetSynced()
	}
	if err == nil {
		err = do()
	}
	if err != nil || !was {
		return err
	}
	return b.noteSynced()
}
