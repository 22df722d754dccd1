package pool

import (
	"fmt"

	"poolctl/runtime/cgroup"
)

// requirementPrefix begins the properties by which an image says what it needs
// (LXD and Incus, doc/image-handling.md); an instance keeps them as image.requirements.*.
const requirementPrefix = "requirements."

// checkRequirements refuses what an image says that it needs and an instance
// here would not have. required are the image's properties, or, with the prefix
// "image.", the configuration of an instance; config is its whole configuration,
// that of its profiles included.
//
// As LXD and Incus: cgroup is v1 or v2 (a host with both has v1, as systemd's
// hierarchy is there), nesting and privileged need the instance's security.nesting and
// security.privileged. Of secureboot and cdrom_agent only virtual machines know, and what
// is unknown to LXD and Incus is not acted on by them either.
func checkRequirements(required map[string]string, prefix string, config map[string]string, hierarchies cgroup.Layout) error {
	needs := func(key string) string { return required[prefix+requirementPrefix+key] }
	legacy := false
	for _, h := range hierarchies {
		legacy = legacy || !h.Unified && h.Name == "systemd"
	}
	refuse := func(key, problem, remedy string) error {
		name := requirementPrefix + key
		hint := "choose another image; if it does run here, pull it, and poolctl image unset-property IMAGE " + name
		switch created := prefix == ""; {
		case created && remedy != "":
			hint = "--config " + remedy
		case remedy != "":
			hint = "poolctl config set NAME " + remedy
		case !created:
			hint = "choose another image; if it does run here, poolctl config unset NAME image." + name
		}
		return withHint(fmt.Errorf("its image says %s=%s: %s", name, needs(key), problem), "%s", hint)
	}
	switch {
	case needs("cgroup") == "v1" && !legacy:
		return refuse("cgroup", "this host has cgroups v2 only", "")
	case needs("cgroup") == "v2" && legacy:
		return refuse("cgroup", "this host has cgroups v1, or both", "")
	case isTrue(needs("nesting")) && !isTrue(config[nestingKey]):
		return refuse("nesting", "the instance may not run containers of its own: "+nestingKey+" is not true", nestingKey+"=true")
	case isTrue(needs("privileged")) && !isTrue(config[privilegedKey]):
		return refuse("privileged", "the instance is not privileged", privilegedKey+"=true")
	}
	return nil
}

// checkImageRequirements is checkRequirements of an image that an instance is to be
// made of with the options.
func (s *System) checkImageRequirements(properties map[string]string, o CreateOptions) error {
	profiles := o.Profiles
	if profiles == nil {
		profiles = []string{defaultProfile}
	}
	config, _, err := s.expand(profiles, o.Config, nil)
	if err != nil {
		return nil //nolint:nilerr // what is wrong with the profiles is told when the instance is made
	}
	return requirementsHere(properties, "", config)
}

// requirementsHere is checkRequirements on this host.
func requirementsHere(required map[string]string, prefix string, config map[string]string) error {
	hierarchies, err := cgroup.Detect()
	if err != nil {
		return err
	}
	return checkRequirements(required, prefix, config, hierarchies)
}
