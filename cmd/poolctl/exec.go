package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"poolctl/pool"
)

type execOptions struct {
	env            cli.StringSlice
	mode, cwd      string
	tty, noTTY     bool
	noStdin        bool
	user, groupGID uint
	offline        bool
	network        bool
}

func execCommand(e *env) *cli.Command {
	o := &execOptions{}
	return &cli.Command{
		Name: "exec", Category: catInstances, Usage: "run a command in an instance", ArgsUsage: "NAME [--] COMMAND [ARGUMENT...]",
		Description: example(`No shell reads the command line. With a terminal for input and output the command gets one too.

With --offline it runs in the root of an instance that is stopped, for repairs: in namespaces, with
ids, capabilities, limits and environment as it would there, but nothing else runs, no disks are
mounted, and there is no network unless --network, which needs no DHCP client. Meanwhile the
instance does not start. NAME/SNAPSHOT runs it in a copy of a snapshot that is thrown away.`,
			"poolctl exec c1 -- sh -c 'cd /tmp && pwd'", "poolctl exec --offline c1 -- passwd", "poolctl exec --offline --network c1 -- apk fix",
			"poolctl exec --offline c1/before-upgrade -- rpm -qa"),
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "env", Usage: "`NAME=VALUE` for its environment; may be repeated", Destination: &o.env},
			&cli.StringFlag{Name: "cwd", Usage: "`DIR` to run it in", DefaultText: "/root", Destination: &o.cwd},
			&cli.UintFlag{Name: "user", Usage: "`UID` to run it as", Destination: &o.user},
			&cli.UintFlag{Name: "group", Usage: "`GID` to run it as", Destination: &o.groupGID},
			&cli.StringFlag{Name: "mode", Usage: "terminal `MODE`: auto, interactive or non-interactive", Value: "auto", Destination: &o.mode},
			&cli.BoolFlag{Name: "force-interactive", Aliases: []string{"t"}, Usage: "give it a terminal", Destination: &o.tty},
			&cli.BoolFlag{Name: "force-noninteractive", Aliases: []string{"T"}, Usage: "give it no terminal", Destination: &o.noTTY},
			&cli.BoolFlag{Name: "offline", Usage: "run it in the root of a stopped instance, or in a copy of a snapshot's", Destination: &o.offline},
			&cli.BoolFlag{Name: "network", Usage: "with --offline: with the instance's network devices", Destination: &o.network},
			&cli.BoolFlag{Name: "disable-stdin", Aliases: []string{"n"}, Usage: "let its input be empty", Destination: &o.noStdin},
		},
		Action: e.actionWith(pool.Options{CleanUpLater: true}, 2, many, func(ctx context.Context, s *pool.System, args []string) error {
			return e.exec(ctx, s, args, o)
		}),
	}
}

// exec runs the command; a code other than 0 is an *exitStatusError.
func (e *env) exec(ctx context.Context, s *pool.System, args []string, o *execOptions) error {
	opts, err := o.options(e, args[1:])
	if err != nil {
		return err
	}
	if o.noStdin {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return fmt.Errorf("cannot open an empty input: %w", err)
		}
		defer func() { _ = null.Close() }() // only read from
		opts.Stdin = null
	}
	run := s.Exec
	if o.offline {
		run = func(ctx context.Context, ref string, opts pool.ExecOptions) (int, error) {
			return s.ExecOffline(ctx, ref, pool.OfflineOptions{ExecOptions: opts, Network: o.network})
		}
	} else if o.network {
		return badUsage("exec", "--network is for --offline")
	}
	code, err := run(ctx, args[0], opts)
	if code > 0 {
		return &exitStatusError{code: code, cause: err}
	}
	return err
}

func (o *execOptions) options(e *env, command []string) (pool.ExecOptions, error) {
	opts := pool.ExecOptions{Args: command, Cwd: o.cwd, Stdin: e.stdin, Stdout: e.stdout, Stderr: e.stderr, Env: map[string]string{}}
	const highest = 1<<32 - 2 // (uid_t)-1 stands for no user
	if o.user > highest || o.groupGID > highest {
		return opts, badUsage("exec", "--user and --group go up to %d", uint(highest))
	}
	opts.UID, opts.GID = uint32(o.user), uint32(o.groupGID)
	if v := os.Getenv("TERM"); v != "" {
		opts.Env["TERM"] = v
	}
	for _, pair := range o.env.Value() {
		name, value, _ := strings.Cut(pair, "=")
		if name == "" {
			return opts, badUsage("exec", "--env %q has no name", pair)
		}
		opts.Env[name] = value
	}
	var err error
	opts.TTY, err = o.wantsTTY(term.IsTerminal(int(e.stdin.Fd())) && term.IsTerminal(int(e.stdout.Fd())))
	return opts, err
}

// wantsTTY decides whether the command gets a terminal; auto is what the
// terminals here suggest.
func (o *execOptions) wantsTTY(auto bool) (bool, error) {
	switch {
	case o.tty && o.noTTY:
		return false, badUsage("exec", "-t and -T exclude each other")
	case o.mode != "auto" && (o.tty || o.noTTY):
		return false, badUsage("exec", "--mode excludes -t and -T")
	case o.noStdin:
		return false, nil
	case o.tty || o.mode == "interactive":
		return true, nil
	case o.noTTY || o.mode == "non-interactive":
		return false, nil
	case o.mode != "auto":
		return false, badUsage("exec", "unknown mode %q: not one of auto, interactive, non-interactive", o.mode)
	}
	return auto, nil
}
