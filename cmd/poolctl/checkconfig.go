package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
	"poolctl/pool/checkconfig"
)

func checkconfigCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "checkconfig", Category: catSetup, Usage: "show what the kernel has of what system containers and pools need",
		Description: example("What can be tried is tried, the rest is read from the kernel's configuration. Without --format it is shown as lxc-checkconfig does.\n"+
			"The exit code is 1 when something is missing that poolctl does not work without.", "poolctl checkconfig"),
		Flags: []cli.Flag{formatFlag(&format, "")},
		Action: e.action(0, 0, func(ctx context.Context, s *pool.System, _ []string) error {
			r, err := s.CheckConfig(ctx)
			if err != nil {
				return err
			}
			switch base := output.Base(format); base {
			case "":
				err = e.printf("%s", checkconfigText(r, term.IsTerminal(int(e.stdout.Fd()))))
			case output.JSON, output.YAML:
				err = output.Value(e.stdout, format, r)
			default:
				err = featureList(r).Write(e.stdout, format)
			}
			if err != nil {
				return err
			}
			var names []string
			for _, f := range r.Lacking() {
				names = append(names, f.Name)
			}
			if len(names) > 0 {
				return fmt.Errorf("this machine lacks what poolctl needs: %s", strings.Join(names, ", "))
			}
			return nil
		}),
	}
}

// featureList is the report as a list.
func featureList(r checkconfig.Report) output.List {
	l := output.List{Header: []string{"GROUP", "NAME", "STATUS", "REQUIRED", "BY", "DETAIL"}, Values: r.Features}
	for _, f := range r.Features {
		required := "NO"
		if f.Required {
			required = "YES"
		}
		l.Rows = append(l.Rows, []string{f.Group, f.Name, strings.ToUpper(f.Status), required, f.By, f.Detail})
	}
	return l
}

// The colours of a terminal (ECMA-48, SGR).
const (
	green, yellow, red, noColour = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"
)

// checkconfigText is the report as lxc-checkconfig prints its own.
func checkconfigText(r checkconfig.Report, coloured bool) string {
	var b strings.Builder
	line := func(format string, a ...any) { _, _ = fmt.Fprintf(&b, format+"\n", a...) }
	switch {
	case r.Config != "":
		line("Kernel %s, its configuration found at %s", r.Kernel, r.Config)
	case r.Problem != "":
		line("Kernel %s: %s", r.Kernel, r.Problem)
	default:
		line("Kernel %s, its configuration not found: what cannot be tried is unknown", r.Kernel)
	}
	group := ""
	for _, f := range r.Features {
		if f.Group != group {
			group = f.Group
			line("\n--- %s ---", group)
		}
		line("%s: %s", f.Name, statusText(f, coloured))
		if f.Name == "Cgroup namespace" {
			for version, mounts := range [][]string{r.CgroupV1, r.CgroupV2} {
				line("Cgroup v%d mount points:", version+1)
				for _, m := range mounts {
					line(" - %s", m)
				}
			}
		}
	}
	return b.String()
}

// statusText is "required" of what is missing and must not, as lxc-checkconfig
// has it.
func statusText(f checkconfig.Feature, coloured bool) string {
	status, colour := f.Status, green
	switch {
	case f.Status == checkconfig.Missing && f.Required:
		status, colour = "required", red
	case f.Status != checkconfig.Enabled:
		colour = yellow
	}
	if coloured {
		status = colour + status + noColour
	}
	if f.Detail == "" {
		return status
	}
	return status + ", " + f.Detail
}
