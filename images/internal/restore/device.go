package restore

// SafeDevice says whether a device node may be made in an image's tree: overlayfs
// whiteouts (character 0:0), and the memory and terminal devices that reach
// neither hardware nor the host (null, zero, full, random, urandom; tty, console,
// ptmx). Device numbers: the kernel's Documentation/admin-guide/devices.txt.
//
// Any other node would be an open door wherever the tree is mounted without
// nodev; an instance gets its devices from its runtime, never from its image.
func SafeDevice(char bool, major, minor uint32) bool {
	if !char {
		return false
	}
	switch major {
	case 0:
		return minor == 0
	case 1:
		return minor == 3 || minor == 5 || minor == 7 || minor == 8 || minor == 9
	case 5:
		return minor <= 2
	}
	return false
}
