package btrfs

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// formatUUID writes a UUID as people do, and none at all, which btrfs stores as
// zeros, as "".
func formatUUID(u [16]byte) string {
	if u == [16]byte{} {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// parseUUID is the other way round; the dashes may be missing.
func parseUUID(s string) (u [16]byte, err error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(raw) != len(u) {
		return u, fmt.Errorf("%q is no UUID", s)
	}
	return [16]byte(raw), nil
}
