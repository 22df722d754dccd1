package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"

	"poolctl/pool"
)

// imageEditHelp is what the user finds above the text.
const imageEditHelp = `### This is a YAML representation of the image properties.
### Any line starting with a '#' will be ignored.
###
### Each property is represented by a single line:
### An example would be:
###  description: My custom image
###
### expires_at is when the image expires; 1970-01-01T00:00:00Z is never.
### It is shown, and a cached image is deleted then; any other image stays.

`

func imageEditCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "edit", Usage: "change an image's properties as YAML, in an editor or from the input", ArgsUsage: "IMAGE",
		Description: example("The editor is $VISUAL or $EDITOR. On the input, what `image show` prints is taken too; a text without the key properties is refused.", "poolctl image edit alpine", "poolctl image edit alpine < image.yaml"),
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			im, err := s.Image(ctx, args[0])
			if err != nil {
				return err
			}
			return e.edit(ctx, imageEditHelp, im.Put(), func(edited []byte) error {
				now, err := readImagePut(edited)
				if err != nil {
					return fmt.Errorf("cannot change image %s: %w", args[0], err)
				}
				return s.ReplaceImagePut(ctx, args[0], im.Put(), now)
			})
		}),
	}
}

// readImagePut reads the YAML of `image edit`. What else is said of an image in
// `image list --format yaml` may be in it, and nothing more.
func readImagePut(text []byte) (pool.ImagePut, error) {
	var file struct {
		pool.ImagePut   `yaml:",inline"`
		Aliases         []pool.ImageAlias `yaml:"aliases"`
		Architecture    string            `yaml:"architecture"`
		Cached          bool              `yaml:"cached"`
		Filename        string            `yaml:"filename"`
		Fingerprint     string            `yaml:"fingerprint"`
		AltFingerprints []string          `yaml:"alt_fingerprints"`
		Size            int64             `yaml:"size"`
		VirtualSize     int64             `yaml:"virtual_size"`
		UpdateSource    *pool.ImageSource `yaml:"update_source"`
		Type            string            `yaml:"type"`
		CreatedAt       time.Time         `yaml:"created_at"`
		LastUsedAt      time.Time         `yaml:"last_used_at"`
		UploadedAt      time.Time         `yaml:"uploaded_at"`
		Pool            string            `yaml:"pool"`
	}
	err := decodeEdited(text, &file, "auto_update", "properties", "public", "expires_at", "profiles")
	if err != nil {
		return file.ImagePut, err
	}
	var keys map[string]any
	if err := yaml.Unmarshal(text, &keys); err != nil {
		return file.ImagePut, err
	}
	if _, said := keys["properties"]; !said {
		return file.ImagePut, errors.New("it has no key properties, and all properties would be gone: \"properties: {}\" says that they are to be")
	}
	return file.ImagePut, nil
}
