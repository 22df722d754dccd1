package pool

import (
	"strings"
	"testing"
)

func TestInstanceKeys(t *testing.T) {
	for _, c := range []struct {
		config map[string]string
		want   string // "": right
	}{
		{map[string]string{"user.x": "1", "environment.A": "b", "image.os": "alpine", "volatile.eth0.hwaddr": "x", "cloud-init.user-data": "#cloud-config"}, ""},
		{map[string]string{"user.x": ""}, ""},
		{map[string]string{"user": "1"}, `unknown key "user"`},
		{map[string]string{"user.": "1"}, `unknown key "user."`},
		{map[string]string{"": "1"}, `unknown key ""`},
		{map[string]string{"environment.A": "a\x00b"}, "zero byte"},
		{map[string]string{"cloud-init.user-data": "#!/bin/sh\n\tx: [", "cloud-init.vendor-data": "#cloud-config\nx: 1\n", "cloud-init.network-config": "version: 2", "cloud-init.ssh-keys.me": "root:k"}, ""},
		{map[string]string{"cloud-init.user-data": "#cloud-config\nruncmd: [a\n"}, "cloud-init.user-data=#cloud-config\nruncmd: [a\n: it is no YAML mapping: yaml: "},
		{map[string]string{"cloud-init.network-config": "\tx"}, "it is no YAML mapping"},
		{map[string]string{"cloud-init.network-config": "hello"}, "it is no YAML mapping"},
		{map[string]string{"cloud-init.network-config": "[a, b]"}, "it is no YAML mapping"},
		{map[string]string{"cloud-init.user-data": "#cloud-config\n- a"}, "it is no YAML mapping"},
		{map[string]string{"cloud-init.user-data": "- a", "cloud-init.vendor-data": "#cloud-config", "cloud-init.network-config": "# none"}, ""},
		{map[string]string{"cloud-init.other": "x"}, "unknown key"},
	} {
		err := checkInstanceConfig(c.config)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("checkInstanceConfig(%v) = %v, want %q", c.config, err, c.want)
		}
	}
}
