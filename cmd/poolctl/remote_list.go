package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/table"
	"poolctl/pool"
	"poolctl/remotes"
)

// localRemote stands for the pools' own images.
const localRemote = "local"

// remoteView is a remote in incus's fields.
type remoteView struct {
	Addr     string `json:"addr" yaml:"addr"`
	AuthType string `json:"auth_type" yaml:"auth_type"`
	Protocol string `json:"protocol" yaml:"protocol"`
	Public   bool   `json:"public" yaml:"public"`
	Static   bool   `json:"static" yaml:"static"`
	Global   bool   `json:"global" yaml:"global"`
	// Not incus's: further URLs, and whether catalogues must be signed.
	Mirrors []string `json:"mirrors,omitempty" yaml:"mirrors,omitempty"`
	Signed  bool     `json:"signed,omitempty" yaml:"signed,omitempty"`
}

func remoteListCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "list the servers that images come from", Description: example("", "poolctl remote list"),
		Flags: []cli.Flag{formatFlag(&format, output.Table)},
		Action: e.action(0, 0, func(ctx context.Context, s *pool.System, _ []string) error {
			all, err := s.Remotes(ctx)
			if err != nil {
				return err
			}
			current, err := s.DefaultRemote()
			if err != nil {
				return err
			}
			return remoteList(all, current).Write(e.stdout, format)
		}),
	}
}

// remoteList has lxc's columns; a remote's mirrors stand below its URL.
func remoteList(all []remotes.Remote, current string) output.List {
	views := map[string]remoteView{}
	l := output.List{Header: []string{"NAME", "URL", "PROTOCOL", "AUTH TYPE", "PUBLIC", "STATIC", "GLOBAL"}, Values: views}
	for _, r := range all {
		name, v := r.Name, remoteView{Addr: r.URL, AuthType: "none", Protocol: r.Protocol, Public: r.Public || r.Protocol == remotes.ProtocolSimplestreams, Mirrors: r.Mirrors, Signed: len(r.Keyring) > 0}
		if r.Name == localRemote {
			v.AuthType, v.Static = "file access", true
		}
		if r.Name == current {
			name += " (current)"
		}
		views[r.Name] = v
		l.Rows = append(l.Rows, []string{name, strings.Join(append([]string{v.Addr}, v.Mirrors...), "\n"), v.Protocol, v.AuthType, yesNo(v.Public), yesNo(v.Static), yesNo(v.Global)})
	}
	table.SortNatural(l.Rows)
	return l
}

// yesNo is how lxc's tables write a condition.
func yesNo(b bool) string {
	if b {
		return "YES"
	}
	return "NO"
}
