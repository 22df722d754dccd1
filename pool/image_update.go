package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"poolctl/pool/tree"
)

// UpdateImage changes what users can change of an image: all of it or, after an
// error, nothing. Properties that are changed are kept by later versions of the
// image; a property without a value is removed.
func (s *System) UpdateImage(ctx context.Context, ref string, change func(*ImagePut) error) (err error) {
	im, err := s.Image(ctx, ref)
	if err != nil {
		return err
	}
	p, err := s.openPool(ctx, im.Pool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	unlock, err := s.lockImage(ctx, im.Fingerprint)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = p.UpdateImage(im.Fingerprint, func(r *tree.ImageRecord) error {
		return s.putImage(r, change)
	})
	return err
}

// ReplaceImagePut is UpdateImage for an editor: was is what the user saw, and
// what another command has changed since is refused.
func (s *System) ReplaceImagePut(ctx context.Context, ref string, was, now ImagePut) error {
	return s.UpdateImage(ctx, ref, func(put *ImagePut) error {
		if !reflect.DeepEqual(*put, was) {
			return fmt.Errorf("cannot change image %s: another command has changed it meanwhile", ref)
		}
		*put = now
		return nil
	})
}

// putImage applies a change to a record.
func (s *System) putImage(r *tree.ImageRecord, change func(*ImagePut) error) error {
	put := publicImage(*r, "").Put()
	if put.Properties = maps.Clone(put.Properties); put.Properties == nil {
		put.Properties = map[string]string{}
	}
	profiles := slices.Clone(put.Profiles)
	if err := change(&put); err != nil {
		return err
	}
	maps.DeleteFunc(put.Properties, func(_, v string) bool { return v == "" })
	if err := s.checkImagePut(*r, put); err != nil {
		return fmt.Errorf("cannot change image %s: %w", r.Fingerprint[:12], err)
	}
	r.ChangedProperties = changedProperties(*r, put.Properties)
	r.AutoUpdate, r.Properties, r.Public, r.ExpiresAt = put.AutoUpdate, put.Properties, put.Public, put.ExpiresAt
	if !slices.Equal(profiles, put.Profiles) {
		r.Profiles = put.Profiles
	}
	return nil
}

// checkImagePut checks what a user wants an image to be.
func (s *System) checkImagePut(r tree.ImageRecord, put ImagePut) error {
	for _, key := range sortedKeys(put.Properties) {
		if err := checkProperty(key, put.Properties[key]); err != nil {
			return err
		}
	}
	for _, name := range put.Profiles {
		if _, err := s.profile(name); err != nil {
			return err
		}
	}
	if put.AutoUpdate && !r.AutoUpdate && r.Source == nil {
		return withHint(errors.New("it cannot be updated: it comes from no server"), "poolctl image pull REMOTE:IMAGE --auto-update brings one that can")
	}
	return nil
}

// checkProperty refuses a property that could not be typed or shown.
func checkProperty(key, value string) error {
	bad := func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) || c == '=' }
	if key == "" || strings.ContainsFunc(key, bad) {
		return fmt.Errorf("a property cannot be called %q", key)
	}
	control := func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }
	if strings.ContainsFunc(value, control) || !isText(value) {
		return fmt.Errorf("property %s: a value cannot hold control characters", key)
	}
	return nil
}

func isText(s string) bool { return strings.ToValidUTF8(s, "") == s }

// changedProperties names the properties that users have changed so far, those
// of the change to now included.
func changedProperties(r tree.ImageRecord, now map[string]string) []string {
	changed := slices.Clone(r.ChangedProperties)
	for _, m := range []map[string]string{r.Properties, now} {
		for key := range m {
			was, had := r.Properties[key]
			is, has := now[key]
			if (had != has || was != is) && !slices.Contains(changed, key) {
				changed = append(changed, key)
			}
		}
	}
	slices.Sort(changed)
	return changed
}
