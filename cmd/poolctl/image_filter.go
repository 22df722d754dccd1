package main

import (
	"strconv"
	"strings"
	"time"

	"poolctl/cmd/poolctl/internal/match"
)

// imageMatches says whether an image passes all filters, by the rules of
// `lxc image list` and `incus image list`, except that of a pair upper and lower
// case are the same: catalogues have Alpine, aliases alpine.
func imageMatches(v imageView, filters []string) bool {
	for _, f := range filters {
		key, value, pair := strings.Cut(f, "=")
		if pair && !imageHas(v, key, value) || !pair && !imageNamed(v, f) {
			return false
		}
	}
	return true
}

// imageHas says whether a property whose key is key, or is abbreviated by it,
// matches the pattern value, or the field of that name is value.
func imageHas(v imageView, key, value string) bool {
	for k, have := range v.Properties {
		if match.Key(strings.ToLower(key), strings.ToLower(k)) && match.ValueFold(value, have) {
			return true
		}
	}
	field, ok := imageField(v, key)
	return ok && strings.EqualFold(field, value)
}

// imageField is a field of an image by its name in JSON, as text.
func imageField(v imageView, name string) (text string, ok bool) {
	switch name {
	case "type":
		return v.Type, true
	case "architecture":
		return v.Architecture, true
	case "fingerprint":
		return v.Fingerprint, true
	case "filename":
		return v.Filename, v.Filename != ""
	case "public":
		return strconv.FormatBool(v.Public), true
	case "cached":
		return strconv.FormatBool(v.Cached), true
	case "auto_update":
		return strconv.FormatBool(v.AutoUpdate), true
	case "size":
		return strconv.FormatInt(v.Size, 10), true
	case "pool":
		return v.Pool, v.Pool != ""
	}
	times := map[string]time.Time{"created_at": v.CreatedAt, "expires_at": v.ExpiresAt, "last_used_at": v.LastUsedAt, "uploaded_at": v.UploadedAt}
	t, ok := times[name]
	return t.Format(time.RFC3339Nano), ok
}

// imageNamed says whether the word is part of the fingerprint or of an alias.
func imageNamed(v imageView, word string) bool {
	if strings.Contains(v.Fingerprint, word) {
		return true
	}
	for _, a := range v.Aliases {
		if strings.Contains(a.Name, word) {
			return true
		}
	}
	return false
}
