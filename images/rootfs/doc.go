// Package rootfs makes the volumes of new instances where there is no image to
// make them of: what `create --template` takes. A volume is what an unpacked
// image is, metadata.yaml, templates/ and rootfs/, and is filled from what the
// host has; nothing is fetched.
package rootfs
