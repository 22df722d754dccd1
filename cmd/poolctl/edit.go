package main

import (
	"context"

	"go.yaml.in/yaml/v3"

	"poolctl/cmd/poolctl/internal/editor"
)

// edit has the user change was as YAML, below the help, in an editor or on the
// input, until apply takes what came out.
func (e *env) edit(ctx context.Context, help string, was any, apply func(edited []byte) error) error {
	text, err := yaml.Marshal(was)
	if err != nil {
		return err
	}
	return editor.Change(ctx, editor.Files{Stdin: e.stdin, Stdout: e.stdout, Stderr: e.stderr}, append([]byte(help), text...), apply)
}
