package btrfs

import "fmt"

// formatUUID writes a UUID as people do, and none at all, which btrfs stores as
// zeros, as "".
func formatUUID(u [16]byte) string {
	if u == [16]byte{} {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
