package network

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// etcHosts is the host's own file of names (hosts(5)). A network that is to be in it
// has a block of lines there, which goes with the network:
//
//	# BEGIN poolctl network poolbr0
//	10.1.2.3 web.lxd web
//	# END poolctl network poolbr0
const etcHosts = "/etc/hosts"

// syncEtcHosts puts the names of all reservations of the network into the host's file, or
// takes them away.
func (b Bridge) syncEtcHosts(all map[string]Reservation) error {
	var names []byte
	if b.EtcHosts && b.DNSMode == DNSManaged {
		names = b.formatNames(all)
	}
	if err := updateHosts(etcHosts, b.Name, names); err != nil {
		return fmt.Errorf("cannot change %s: %w", etcHosts, err)
	}
	return nil
}

// updateHosts replaces a network's block in a file, which stays untouched when it is
// right.
func updateHosts(path, network string, names []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) && len(names) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	have, err := os.ReadFile(path)
	if err != nil || bytes.Equal(have, replaceBlock(have, network, names)) {
		return err
	}
	// Networks have locks of their own: the file needs another one.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // closing gives up the lock, whatever it returns
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if have, err = os.ReadFile(path); err != nil {
		return err
	}
	return replaceHosts(path, replaceBlock(have, network, names), info)
}

// replaceHosts replaces the file by one with the same owner and mode; one that is
// mounted from elsewhere, which cannot be replaced, is written over.
func replaceHosts(path string, data []byte, like os.FileInfo) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".hosts-poolctl-")
	if err != nil {
		return err
	}
	renamed := false
	defer func() {
		if !renamed {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(like.Mode().Perm()), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	err = os.Rename(f.Name(), path)
	if renamed = err == nil; renamed {
		return nil
	}
	if errors.Is(err, unix.EBUSY) {
		return os.WriteFile(path, data, like.Mode().Perm())
	}
	return err
}

// replaceBlock is text with a network's block replaced by one of names, or taken
// away when there are none. Nothing else of text changes, but that its last line
// gets an end before a new block.
func replaceBlock(text []byte, network string, names []byte) []byte {
	begin, end := "# BEGIN poolctl network "+network, "# END poolctl network "+network
	var block, out []byte
	if len(names) > 0 {
		block = fmt.Appendf(nil, "%s\n%s%s\n", begin, names, end)
	}
	left := text
	for line := range bytes.Lines(text) {
		left = left[len(line):]
		if string(bytes.TrimRight(line, "\r\n")) != begin {
			out = append(out, line...)
			continue
		}
		// Without its end it is a line as any other.
		_, after, ended := bytes.Cut(append([]byte("\n"), left...), []byte("\n"+end+"\n"))
		if !ended {
			out = append(out, line...)
			continue
		}
		return append(append(out, block...), after...)
	}
	if len(block) > 0 && len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	return append(out, block...)
}
