package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// rawFile is the file with what the user appends to dnsmasq's configuration. Its
// name depends on what is in it: a dnsmasq with other arguments is started anew.
func (b Bridge) rawFile() string {
	if b.RawDnsmasq == "" {
		return "/dev/null" // not dnsmasq's own /etc/dnsmasq.conf
	}
	sum := sha256.Sum256([]byte(b.RawDnsmasq))
	return filepath.Join(b.RunDir, rawPrefix+hex.EncodeToString(sum[:8]))
}

const rawPrefix = "dnsmasq.raw-"

// writeRaw writes the rawFile, and removes those of former configurations.
func (b Bridge) writeRaw() error {
	if err := b.removeRaw(); err != nil || b.RawDnsmasq == "" {
		return err
	}
	return replaceFile(b.RunDir, filepath.Base(b.rawFile()), []byte(b.RawDnsmasq+"\n"))
}

func (b Bridge) removeRaw() error {
	entries, err := os.ReadDir(b.RunDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), rawPrefix) || strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.Remove(filepath.Join(b.RunDir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// checkRaw has dnsmasq read its configuration with what the user appends.
func (b Bridge) checkRaw(ctx context.Context) (err error) {
	if b.RawDnsmasq == "" {
		return nil
	}
	path, err := findDnsmasqProgram()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "poolctl-dnsmasq-*.conf")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(b.RawDnsmasq + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	args := append(b.dnsmasqArgs("root"), "--test")
	args[0] = "--conf-file=" + f.Name()
	if msg, err := runDnsmasq(ctx, path, args); err != nil {
		msg = strings.ReplaceAll(strings.TrimPrefix(msg, "dnsmasq: "), f.Name(), "raw.dnsmasq")
		return fmt.Errorf("dnsmasq does not take raw.dnsmasq: %s (%w)", msg, err)
	}
	return nil
}
