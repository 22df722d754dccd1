package pool

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"poolctl/runtime/seccomp"
)

// Keys that more than the registry asks for.
const (
	privilegedKey       = "security.privileged"
	nestingKey          = "security.nesting"
	isolatedKey         = "security.idmap.isolated"
	idmapBaseKey        = "security.idmap.base"
	idmapSizeKey        = "security.idmap.size"
	rawIDMapKey         = "raw.idmap"
	protectDeleteKey    = "security.protection.delete"
	protectStartKey     = "security.protection.start"
	syscallsDefaultKey  = "security.syscalls.deny_default"
	syscallsCompatKey   = "security.syscalls.deny_compat"
	syscallsDenyKey     = "security.syscalls.deny"
	syscallsAllowKey    = "security.syscalls.allow"
	syscallsInterceptor = "security.syscalls.intercept.*"
)

// securityKeys are about how far an instance is kept from its host. A running
// instance keeps what it was started with, but for the protections.
func securityKeys() []instanceKey {
	keys := []instanceKey{
		{name: privilegedKey, check: checkBool},
		{name: nestingKey, check: checkBool},
		{name: isolatedKey, check: checkBool},
		{name: idmapBaseKey, check: checkIDMapBase},
		{name: idmapSizeKey, check: checkIDMapSize},
		{name: rawIDMapKey, check: func(v string) error { _, err := parseRawIDMap(v); return err }},
		{name: protectDeleteKey, check: checkBool},
		{name: protectStartKey, check: checkBool},
		// Against shifting the ids of the files on disk, which is never done here.
		{name: "security.protection.shift", check: checkBool},
		{name: syscallsDefaultKey, check: checkBool},
		{name: syscallsCompatKey, check: checkBool},
		{name: syscallsDenyKey, check: seccomp.CheckDeny},
		{name: syscallsAllowKey, check: seccomp.CheckAllow},
		{name: syscallsInterceptor, check: offOnly("a system call is carried out or refused: no process watches over the instance to do it in its place")},
		{name: "security.guestapi", check: offOnly("there is no process that a guest could talk to")},
		{name: "security.guestapi.images", check: offOnly("there is no process that a guest could talk to")},
		{name: "security.devlxd", check: offOnly("there is no process that a guest could talk to")},
		{name: "security.devlxd.images", check: offOnly("there is no process that a guest could talk to")},
	}
	for _, name := range []string{"security.secureboot", "security.csm", "security.agent.metrics", "security.sev", "security.sev.*", "security.iommu"} {
		keys = append(keys, instanceKey{name: name, check: func(string) error { return errors.New("it is for virtual machines") }})
	}
	return keys
}

// offOnly takes false, for what is there to be said no to.
func offOnly(why string) func(string) error {
	return func(v string) error {
		if err := checkBool(v); err != nil {
			return err
		}
		if isTrue(v) {
			return errors.New(why)
		}
		return nil
	}
}

func checkIDMapBase(v string) error {
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil || n == 0 || n >= math.MaxUint32-minIsolated {
		return fmt.Errorf("want the first id on the host, 1 to %d", uint32(math.MaxUint32-minIsolated-1))
	}
	return nil
}

func checkIDMapSize(v string) error {
	if v == "auto" {
		return nil
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil || n == 0 || n == math.MaxUint32 {
		return errors.New("want a number of ids, or auto")
	}
	return nil
}

// syscallPolicy is the policy of the configuration of an instance.
func syscallPolicy(config map[string]string) seccomp.Policy {
	return seccomp.Policy{
		NoDefault: config[syscallsDefaultKey] != "" && !isTrue(config[syscallsDefaultKey]), Nesting: isTrue(config[nestingKey]),
		DenyCompat: isTrue(config[syscallsCompatKey]), Deny: config[syscallsDenyKey], Allow: config[syscallsAllowKey],
	}
}

// protected refuses what a key keeps from being done.
func protected(name, key string) error {
	return withHint(fmt.Errorf("%s is set", key), "poolctl config unset %s %s allows it", name, key)
}
