package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

// configEditHelp is what the user finds above the text.
const configEditHelp = `### This is a YAML representation of the configuration.
### Any line starting with a '#' will be ignored.
###
### A sample configuration looks like:
### config:
###   user.owner: ann
### devices:
###   data:
###     type: disk
###     source: /srv/data
###     path: /data
### ephemeral: false
### profiles:
### - default
### description: ""

`

func configEditCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "edit", Usage: "change an instance's configuration, or when a snapshot expires, as YAML, in an editor or from the input", ArgsUsage: "NAME[/SNAPSHOT]",
		Description: example("The editor is $VISUAL or $EDITOR. On the input, what `config show` prints is taken too. Keys volatile.* that are left\nout stay.",
			"poolctl config edit c1", "poolctl config edit c1 < c1.yaml", "poolctl config edit c1/before"),
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			if name, snap, is := strings.Cut(args[0], "/"); is {
				return e.editSnapshot(ctx, s, name, snap)
			}
			was, err := s.InstanceConfig(ctx, args[0], false)
			if err != nil {
				return err
			}
			return e.edit(ctx, configEditHelp, was, func(edited []byte) error {
				now, err := readInstancePut(edited)
				if err != nil {
					return fmt.Errorf("cannot change %s: %w", args[0], err)
				}
				return s.ReplaceInstance(ctx, args[0], was, now)
			})
		}),
	}
}

// readInstancePut reads the YAML of `config edit`. What else incus prints of an
// instance may be in it, and nothing more.
func readInstancePut(text []byte) (pool.InstancePut, error) {
	var file struct {
		pool.InstancePut `yaml:",inline"`
		Name             string                       `yaml:"name"`
		CreatedAt        time.Time                    `yaml:"created_at"`
		LastUsedAt       time.Time                    `yaml:"last_used_at"`
		ExpandedConfig   map[string]string            `yaml:"expanded_config"`
		ExpandedDevices  map[string]map[string]string `yaml:"expanded_devices"`
		Status           string                       `yaml:"status"`
		StatusCode       int                          `yaml:"status_code"`
		Location         string                       `yaml:"location"`
		Type             string                       `yaml:"type"`
		Project          string                       `yaml:"project"`
	}
	err := decodeEdited(text, &file, "architecture", "config", "devices", "ephemeral", "profiles", "stateful", "description")
	return file.InstancePut, err
}

// snapshotEditHelp is what the user finds above the text of a snapshot.
const snapshotEditHelp = `### This is a YAML representation of the snapshot.
### Any line starting with a '#' will be ignored.
###
### When it expires can be changed: 0001-01-01T00:00:00Z is never.
###
### expires_at: 2030-12-31T00:00:00Z

`

// editedSnapshot is what of a snapshot can be changed.
type editedSnapshot struct {
	ExpiresAt time.Time `yaml:"expires_at"`
}

func (e *env) editSnapshot(ctx context.Context, s *pool.System, name, snap string) error {
	was, err := s.SnapshotConfig(ctx, name, snap)
	if err != nil {
		return err
	}
	return e.edit(ctx, snapshotEditHelp, editedSnapshot{was.ExpiresAt}, func(edited []byte) error {
		at, err := readSnapshotEdit(edited, was)
		if err != nil {
			return fmt.Errorf("cannot change %s/%s: %w", name, snap, err)
		}
		if at.Equal(was.ExpiresAt) {
			return nil
		}
		expiry := ""
		if isSet(at) {
			expiry = at.Format(time.RFC3339)
		}
		return s.SetSnapshotExpiry(ctx, name, snap, expiry)
	})
}

// readSnapshotEdit reads when a snapshot is to expire: never, where that is left out. What
// `config show` and `snapshot show` print may be in it too, as it is.
func readSnapshotEdit(text []byte, was pool.SnapshotConfig) (time.Time, error) {
	var file pool.SnapshotInfo
	err := decodeEdited(text, &file, propertyExpiry)
	at, now := file.ExpiresAt, file.SnapshotConfig
	now.ExpiresAt, now.Size = was.ExpiresAt, was.Size
	fields, before := reflect.ValueOf(&now).Elem(), reflect.ValueOf(was)
	for i := range fields.NumField() { // what is left out stays
		if fields.Field(i).IsZero() {
			fields.Field(i).Set(before.Field(i))
		}
	}
	if err == nil && !sameYAML(now, was) {
		err = errors.New("only expires_at of a snapshot can be changed")
	}
	return at, err
}

// sameYAML says whether two values are written as the same text.
func sameYAML(a, b any) bool {
	var texts [2]strings.Builder
	for i, v := range []any{a, b} {
		if err := output.Value(&texts[i], output.YAML, v); err != nil {
			return reflect.DeepEqual(a, b)
		}
	}
	return texts[0].String() == texts[1].String()
}
