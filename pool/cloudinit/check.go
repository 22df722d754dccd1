// Package cloudinit checks what is given to cloud-init, as LXD 5.0.2 and Incus do: with what they refuse, neither takes an
// instance in.
package cloudinit

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// CheckMapping refuses what is no YAML, or anything but a mapping or empty.
func CheckMapping(v string) error {
	var none struct{}
	if err := yaml.Unmarshal([]byte(v), &none); err != nil {
		return fmt.Errorf("it is no YAML mapping: %w", err)
	}
	return nil
}

// CheckData refuses a cloud-config that CheckMapping refuses. Scripts and other formats may have any form.
func CheckData(v string) error {
	config, is := strings.CutPrefix(v+"\n", "#cloud-config\n")
	if !is {
		return nil
	}
	return CheckMapping(config)
}
