package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func networkForwardCommands(e *env) *cli.Command {
	return group("forward", nil, "", "publish addresses and ports of the host for a network's instances",
		forwardCreateCommand(e), forwardListCommand(e), forwardShowCommand(e), forwardGetCommand(e), forwardSetCommand(e),
		forwardUnsetCommand(e), forwardEditCommand(e), forwardDeleteCommand(e),
		group("port", nil, "", "manage the ports of a forward", forwardPortAddCommand(e), forwardPortRemoveCommand(e)))
}

func forwardCreateCommand(e *env) *cli.Command {
	var description string
	return &cli.Command{
		Name: "create", Usage: "publish an address of the host", ArgsUsage: "NETWORK LISTEN_ADDRESS [KEY=VALUE...]",
		Description: example("What comes for the address goes to target_address, or nowhere; `network forward port add` has ports of it go\nsomewhere. Instances, and the host itself, reach it too.",
			"poolctl network forward create poolbr0 192.0.2.10 target_address=10.1.2.20", "poolctl network forward create poolbr0 192.0.2.10"),
		Flags: []cli.Flag{&cli.StringFlag{Name: "description", Usage: "`TEXT` about the forward", Destination: &description}},
		Action: e.action(2, many, func(ctx context.Context, s *pool.System, args []string) error {
			config, err := keyValues("network forward create", args[2:])
			if err != nil {
				return err
			}
			f := pool.NetworkForward{ListenAddress: args[1], Description: description, Config: config, Ports: []pool.NetworkForwardPort{}}
			if err := s.CreateNetworkForward(ctx, args[0], f); err != nil {
				return err
			}
			e.say("Network forward %s created", args[1])
			return nil
		}),
	}
}

func forwardListCommand(e *env) *cli.Command {
	var format, columns string
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "list a network's forwards", ArgsUsage: "NETWORK",
		Description: example("Columns: l listen address, d description, t default target address, p how many ports", "poolctl network forward list poolbr0 -c lt"),
		Flags: []cli.Flag{
			formatFlag(&format, output.Table),
			&cli.StringFlag{Name: "columns", Aliases: []string{"c"}, Usage: "`COLUMNS` to show", Value: "ldtp", Destination: &columns},
		},
		Action: e.action(1, 1, func(_ context.Context, s *pool.System, args []string) error {
			cols, err := pickColumns("network forward list", columns, []column[pool.NetworkForward]{
				{'l', "LISTEN ADDRESS", func(f pool.NetworkForward) string { return f.ListenAddress }},
				{'d', "DESCRIPTION", func(f pool.NetworkForward) string { return f.Description }},
				{'t', "DEFAULT TARGET ADDRESS", func(f pool.NetworkForward) string { return f.Config["target_address"] }},
				{'p', "PORTS", func(f pool.NetworkForward) string { return strconv.Itoa(len(f.Ports)) }},
			})
			if err != nil {
				return err
			}
			list, err := s.NetworkForwards(args[0])
			if err != nil {
				return err
			}
			l := columnList(cols, list)
			l.Values = orEmpty(list)
			return l.Write(e.stdout, format)
		}),
	}
}

func forwardShowCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "show", Usage: "show a forward's configuration and ports", ArgsUsage: "NETWORK LISTEN_ADDRESS", Description: example("", "poolctl network forward show poolbr0 192.0.2.10"),
		Flags: []cli.Flag{formatFlag(&format, output.YAML)},
		Action: e.action(2, 2, func(_ context.Context, s *pool.System, args []string) error {
			f, err := s.NetworkForward(args[0], args[1])
			if err != nil {
				return err
			}
			return output.Value(e.stdout, format, f)
		}),
	}
}

func forwardGetCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "get", Usage: "print a key of a forward", ArgsUsage: "NETWORK LISTEN_ADDRESS KEY", Description: example("", "poolctl network forward get poolbr0 192.0.2.10 target_address"),
		Action: e.action(3, 3, func(_ context.Context, s *pool.System, args []string) error {
			f, err := s.NetworkForward(args[0], args[1])
			if err != nil {
				return err
			}
			return e.printf("%s\n", f.Config[args[2]])
		}),
	}
}

func forwardSetCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "set", Usage: "change keys of a forward", ArgsUsage: "NETWORK LISTEN_ADDRESS KEY=VALUE...",
		Description: example("An empty value unsets a key.", "poolctl network forward set poolbr0 192.0.2.10 target_address=10.1.2.21"),
		Action: e.action(3, many, func(ctx context.Context, s *pool.System, args []string) error {
			values, err := keyValues("network forward set", args[2:])
			if err != nil {
				return err
			}
			return setForward(ctx, s, args, values)
		}),
	}
}

func forwardUnsetCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "unset", Usage: "unset a key of a forward", ArgsUsage: "NETWORK LISTEN_ADDRESS KEY", Description: example("", "poolctl network forward unset poolbr0 192.0.2.10 target_address"),
		Action: e.action(3, 3, func(ctx context.Context, s *pool.System, args []string) error {
			return setForward(ctx, s, args, map[string]string{args[2]: ""})
		}),
	}
}

func setForward(ctx context.Context, s *pool.System, args []string, values map[string]string) error {
	return s.ChangeNetworkForward(ctx, args[0], args[1], func(f *pool.NetworkForward) error {
		if f.Config == nil {
			f.Config = map[string]string{}
		}
		for k, v := range values {
			f.Config[k] = v
		}
		return nil
	})
}

func forwardDeleteCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Usage: "publish an address no more", ArgsUsage: "NETWORK LISTEN_ADDRESS", Description: example("", "poolctl network forward delete poolbr0 192.0.2.10"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			if err := s.DeleteNetworkForward(ctx, args[0], args[1]); err != nil {
				return err
			}
			e.say("Network forward %s deleted", args[1])
			return nil
		}),
	}
}

const forwardEditHelp = `### This is a YAML representation of a network forward.
### Any line starting with a '#' will be ignored.
###
### listen_address cannot be changed. For example:
###
### listen_address: 192.0.2.10
### description: web server
### config:
###   target_address: 10.1.2.20
### ports:
### - description: ""
###   protocol: tcp
###   listen_port: 80,8080-8090
###   target_address: 10.1.2.21
###   target_port: ""

`

func forwardEditCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "edit", Usage: "change a forward as YAML, in an editor or from the input", ArgsUsage: "NETWORK LISTEN_ADDRESS",
		Description: example("", "poolctl network forward edit poolbr0 192.0.2.10", "poolctl network forward edit poolbr0 192.0.2.10 < forward.yaml"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			was, err := s.NetworkForward(args[0], args[1])
			if err != nil {
				return err
			}
			return e.edit(ctx, forwardEditHelp, was, func(edited []byte) error {
				var now pool.NetworkForward
				if err := decodeEdited(edited, &now, "listen_address", "description", "config", "ports"); err != nil {
					return fmt.Errorf("cannot change forward %s: %w", args[1], err)
				}
				return s.ChangeNetworkForward(ctx, args[0], args[1], func(f *pool.NetworkForward) error {
					if now.ListenAddress != f.ListenAddress {
						return fmt.Errorf("its address cannot become %q: create another forward", now.ListenAddress)
					}
					*f = now
					return nil
				})
			})
		}),
	}
}

func forwardPortAddCommand(e *env) *cli.Command {
	var description string
	return &cli.Command{
		Name: "add", Usage: "have ports of a forward go to an instance", ArgsUsage: "NETWORK LISTEN_ADDRESS PROTOCOL LISTEN_PORTS TARGET_ADDRESS [TARGET_PORTS]",
		Description: example("PROTOCOL is tcp or udp. Ports are numbers and ranges, separated by commas; there are as many target ports, or one for\nall; without any they are the same.",
			"poolctl network forward port add poolbr0 192.0.2.10 tcp 80,443 10.1.2.20", "poolctl network forward port add poolbr0 192.0.2.10 udp 8000-8010 10.1.2.20 9000-9010"),
		Flags: []cli.Flag{&cli.StringFlag{Name: "description", Usage: "`TEXT` about the ports", Destination: &description}},
		Action: e.action(5, 6, func(ctx context.Context, s *pool.System, args []string) error {
			p := pool.NetworkForwardPort{Description: description, Protocol: args[2], ListenPort: args[3], TargetAddress: args[4]}
			if len(args) == 6 {
				p.TargetPort = args[5]
			}
			return s.ChangeNetworkForward(ctx, args[0], args[1], func(f *pool.NetworkForward) error {
				f.Ports = append(f.Ports, p)
				return nil
			})
		}),
	}
}

func forwardPortRemoveCommand(e *env) *cli.Command {
	var force bool
	return &cli.Command{
		Name: "remove", Aliases: []string{"rm"}, Usage: "take ports from a forward", ArgsUsage: "NETWORK LISTEN_ADDRESS [PROTOCOL [LISTEN_PORTS]]",
		Description: example("", "poolctl network forward port remove poolbr0 192.0.2.10 tcp 80,443", "poolctl network forward port remove poolbr0 192.0.2.10 --force"),
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "force", Usage: "remove all that match, not only one", Destination: &force}},
		Action: e.action(2, 4, func(ctx context.Context, s *pool.System, args []string) error {
			return s.ChangeNetworkForward(ctx, args[0], args[1], func(f *pool.NetworkForward) error {
				keep := []pool.NetworkForwardPort{}
				for _, p := range f.Ports {
					if len(args) > 2 && p.Protocol != args[2] || len(args) > 3 && p.ListenPort != args[3] {
						keep = append(keep, p)
					}
				}
				switch gone := len(f.Ports) - len(keep); {
				case gone == 0:
					return fmt.Errorf("there are no ports %s", strings.Join(args[2:], " "))
				case gone > 1 && !force:
					return fmt.Errorf("%d entries match: --force removes them all", gone)
				}
				f.Ports = keep
				return nil
			})
		}),
	}
}
