package pool

import (
	"strings"
	"testing"

	"poolctl/runtime/cgroup"
)

func TestCheckRequirements(t *testing.T) {
	v1 := cgroup.Layout{{Mount: "/sys/fs/cgroup/cpu", Controllers: []string{"cpu"}}, {Mount: "/sys/fs/cgroup/systemd", Name: "systemd"}}
	v2 := cgroup.Layout{{Mount: "/sys/fs/cgroup", Unified: true, Sole: true}}
	hybrid := append(v1[:2:2], cgroup.Hierarchy{Mount: "/sys/fs/cgroup/unified", Unified: true})
	for name, tc := range map[string]struct {
		required, config map[string]string
		host             cgroup.Layout
		refused          string // "" = it is not
	}{
		"none":               {nil, nil, v2, ""},
		"v1 on v1":           {map[string]string{"requirements.cgroup": "v1"}, nil, v1, ""},
		"v1 on both":         {map[string]string{"requirements.cgroup": "v1"}, nil, hybrid, ""},
		"v1 on v2":           {map[string]string{"requirements.cgroup": "v1"}, nil, v2, "requirements.cgroup=v1: this host has cgroups v2 only"},
		"v2 on v2":           {map[string]string{"requirements.cgroup": "v2"}, nil, v2, ""},
		"v2 on both":         {map[string]string{"requirements.cgroup": "v2"}, nil, hybrid, "requirements.cgroup=v2: this host has cgroups v1"},
		"v2 on v1":           {map[string]string{"requirements.cgroup": "v2"}, nil, v1, "requirements.cgroup=v2"},
		"unknown cgroup":     {map[string]string{"requirements.cgroup": "v3"}, nil, v2, ""},
		"nesting":            {map[string]string{"requirements.nesting": "true"}, nil, v2, "requirements.nesting=true: .*security.nesting"},
		"nesting is off":     {map[string]string{"requirements.nesting": "1"}, map[string]string{"security.nesting": "false"}, v2, "requirements.nesting=1"},
		"nesting is on":      {map[string]string{"requirements.nesting": "true"}, map[string]string{"security.nesting": "true"}, v2, ""},
		"no nesting needed":  {map[string]string{"requirements.nesting": "false"}, nil, v2, ""},
		"privileged":         {map[string]string{"requirements.privileged": "true"}, nil, v2, "requirements.privileged=true"},
		"privileged it is":   {map[string]string{"requirements.privileged": "true"}, map[string]string{"security.privileged": "true"}, v2, ""},
		"unprivileged":       {map[string]string{"requirements.privileged": "false"}, nil, v2, ""},
		"virtual machines'":  {map[string]string{"requirements.secureboot": "false", "requirements.cdrom_agent": "true"}, nil, v2, ""},
		"no prefix no match": {map[string]string{"cgroup": "v1", "nesting": "true"}, nil, v2, ""},
	} {
		for _, prefix := range []string{"", "image."} {
			required := map[string]string{}
			for k, v := range tc.required {
				required[prefix+k] = v
			}
			err := checkRequirements(required, prefix, tc.config, tc.host)
			first, rest, _ := strings.Cut(tc.refused, ".*")
			if (err != nil) != (tc.refused != "") || err != nil && (!strings.Contains(err.Error(), first) || !strings.Contains(err.Error(), rest)) {
				t.Errorf("%s: %v, want %q", name, err, tc.refused)
			}
		}
	}
}
