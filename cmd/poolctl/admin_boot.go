package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func adminBootCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "boot", Usage: "start the instances that are to run when the machine starts",
		Description: example("Those with boot.autostart=true, and of those that do not say so those that ran when the machine stopped; in the order of\n"+
			"boot.autostart.priority, the highest first, with boot.autostart.delay after each. The unit of `admin systemd` runs it.", "poolctl admin boot"),
		Action: e.action(0, 0, func(ctx context.Context, s *pool.System, _ []string) error { return eachOf(s.StartAtBoot(ctx)) }),
	}
}

func adminShutdownCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "shutdown", Usage: "stop all instances because the machine stops",
		Description: example("Those of the highest boot.stop.priority first, each with boot.host_shutdown_timeout (30 s) before it is ended. They are started\n"+
			"again by `admin boot`, unless boot.autostart=false. The unit of `admin systemd` runs it.", "poolctl admin shutdown"),
		Action: e.action(0, 0, func(ctx context.Context, s *pool.System, _ []string) error { return eachOf(s.StopAtShutdown(ctx)) }),
	}
}
