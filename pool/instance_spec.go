package pool

import (
	"context"
	"path/filepath"

	"poolctl/runtime"
)

// specOf is what the runtime is to know of an instance that is started, but for
// what is brought up for it: network interfaces and disks.
func (s *System) specOf(ctx context.Context, in *lockedInstance) (spec runtime.Spec, err error) {
	name := in.rec.Name
	uids, gids, err := s.idMaps(ctx, in)
	if err != nil {
		return spec, err
	}
	diskUIDs, diskGIDs, err := diskMaps(in.rec.Config)
	if err != nil {
		return spec, err
	}
	config := in.rec.ExpandedConfig
	limits, err := limitsOf(config)
	if err != nil {
		return spec, err
	}
	if limits.IO, err = s.diskLimits(in.rec.ExpandedDevices); err != nil {
		return spec, err
	}
	filter, err := syscallPolicy(config).Compile()
	if err != nil {
		return spec, err
	}
	about, err := s.upkeepOf(in)
	if err != nil {
		return spec, err
	}
	proxies, err := proxiesOf(in.rec.ExpandedDevices)
	if err != nil {
		return spec, err
	}
	return runtime.Spec{
		Name: name, Hostname: name, Rootfs: filepath.Join(in.InstancePath(name), "rootfs"), RunDir: s.instanceRunDir(name),
		Cgroup: s.cgroups + "/" + name, UIDMap: uids, GIDMap: gids, Env: environmentOf(config),
		Filter: filter, Privileged: isTrue(config[privilegedKey]), Nesting: isTrue(config[nestingKey]),
		Limits: limits, Sysctls: sysctlsOf(config), Proxies: proxies,
		DiskUIDMap: diskUIDs, DiskGIDMap: diskGIDs,
		LogFile: s.logFile(name), ConsoleLog: s.consoleLog(name), About: about,
		ExitFile: s.exitFile(name), AutoRestart: isTrue(config[autoRestartKey]), TellEnd: in.rec.Ephemeral,
	}, nil
}
