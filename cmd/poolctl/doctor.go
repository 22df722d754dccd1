package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func doctorCommand(e *env) *cli.Command {
	var format string
	var fix bool
	return &cli.Command{
		Name: "doctor", Category: catSetup, Usage: "look for what is wrong with the host, the pools and the networks",
		Description: example("Each finding is an error, a warning or a notice, with what can be done about it. With --fix what needs no decision is repaired.\n"+
			"The exit code is 1 when errors or warnings remain.", "poolctl doctor", "poolctl doctor --fix --format json"),
		Flags: []cli.Flag{
			formatFlag(&format, output.Table),
			&cli.BoolFlag{Name: "fix", Usage: "repair what needs no decision, and say what was done", Destination: &fix},
		},
		Action: e.action(0, 0, func(ctx context.Context, s *pool.System, _ []string) error {
			findings, err := s.Doctor(ctx, pool.DoctorOptions{Fix: fix})
			if err != nil {
				return err
			}
			if err := findingList(findings).Write(e.stdout, format); err != nil {
				return err
			}
			remaining := 0
			for _, f := range findings {
				if f.Remains() {
					remaining++
				}
			}
			switch {
			case remaining == 1:
				return fmt.Errorf("1 problem remains")
			case remaining > 1:
				return fmt.Errorf("%d problems remain", remaining)
			}
			e.say("no problems")
			return nil
		}),
	}
}

// findingList has the worst findings first.
func findingList(findings []pool.Finding) output.List {
	rank := func(f pool.Finding) int {
		return slices.Index([]string{pool.SeverityError, pool.SeverityWarning, pool.SeverityNotice}, f.Severity)
	}
	findings = slices.Clone(orEmpty(findings))
	slices.SortStableFunc(findings, func(a, b pool.Finding) int { return rank(a) - rank(b) })
	l := output.List{Header: []string{"SEVERITY", "OBJECT", "PROBLEM", "REMEDY"}, Values: findings}
	for _, f := range findings {
		remedy := f.Remedy
		if f.Done != "" {
			remedy = "done: " + f.Done
		}
		l.Rows = append(l.Rows, []string{strings.ToUpper(f.Severity), f.Object, f.Problem, remedy})
	}
	return l
}
