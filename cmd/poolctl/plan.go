package main

import (
	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

// planFlag is --plan of the commands that write much.
func planFlag(plan *bool) cli.Flag {
	return &cli.BoolFlag{Name: "plan", Usage: "only show the space that it takes and what there is; fails when it does not fit", Destination: plan}
}

// printPlan shows what an operation would take, and fails when that does not fit.
func (e *env) printPlan(format string, ask func() (pool.SpacePlan, error)) error {
	p, err := ask()
	if err != nil {
		return err
	}
	if err := output.Value(e.stdout, format, p); err != nil {
		return err
	}
	return p.Err()
}
