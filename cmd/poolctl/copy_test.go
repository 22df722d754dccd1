package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func TestCopyOptions(t *testing.T) {
	for args, want := range map[string]pool.CopyOptions{
		"c1":       {Source: "c1"},
		"c1 c2":    {Source: "c1", Name: "c2"},
		"c1/s0 c2": {Source: "c1", Snapshot: "s0", Name: "c2"},
		"c1/a/b":   {Source: "c1", Snapshot: "a/b"}, // no snapshot is called that
		"c1/8:00":  {Source: "c1", Snapshot: "8:00"},
	} {
		want.Config = map[string]string{"user.a": "b=c"}
		f := copyFlags{config: *cli.NewStringSlice("user.a=b=c")}
		got, err := f.options(strings.Fields(args))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", args, err, diff)
		}
	}
	if got, err := (&copyFlags{instanceOnly: true}).options([]string{"c1", "c2"}); err != nil || !got.InstanceOnly {
		t.Errorf("%+v, %v", got, err)
	}
	for name, bad := range map[string]struct {
		flags copyFlags
		args  string
	}{
		"empty snapshot":                 {copyFlags{}, "c1/ c2"},
		"to another server":              {copyFlags{}, "c1 host:c1"},
		"from another server":            {copyFlags{}, "host:c1/s0 c2"},
		"--instance-only and a snapshot": {copyFlags{instanceOnly: true}, "c1/s0 c2"},
		"no value":                       {copyFlags{config: *cli.NewStringSlice("user.a")}, "c1 c2"},
	} {
		if got, err := bad.flags.options(strings.Fields(bad.args)); err == nil {
			t.Errorf("%s is taken: %+v", name, got)
		}
	}
}
