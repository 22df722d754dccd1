package pool

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"poolctl/images/template"
	"poolctl/pool/tree"
)

// defaultPattern is snapshots.pattern when it is not set.
const defaultPattern = "snap%d"

// nextSnapshotName is the name of a snapshot that is given none: the pattern,
// a pongo2 template that knows creation_date, with %d as the number after the
// highest one of those there are. Without %d, a name that is taken gets "-0", "-1"
// and so on appended, as in Incus.
func nextSnapshotName(ctx context.Context, pattern string, now time.Time, names []string) (string, error) {
	if pattern == "" {
		pattern = defaultPattern
	}
	name, err := renderPattern(ctx, pattern, now)
	if err != nil {
		return "", err
	}
	if !strings.Contains(name, "%d") {
		if !slices.Contains(names, name) {
			return name, tree.ValidateSnapshotName(name)
		}
		name += "-%d"
	}
	before, after, _ := strings.Cut(name, "%d")
	next := uint64(0)
	for _, n := range names {
		digits, ok := strings.CutPrefix(n, before)
		if digits, found := strings.CutSuffix(digits, after); ok && found {
			if n, err := strconv.ParseUint(digits, 10, 32); err == nil && n >= next {
				next = n + 1
			}
		}
	}
	name = before + strconv.FormatUint(next, 10) + after
	return name, tree.ValidateSnapshotName(name)
}

// checkPattern takes what nextSnapshotName can make a name of.
func checkPattern(pattern string) error {
	_, err := nextSnapshotName(context.Background(), pattern, time.Now(), nil)
	return err
}

// renderPattern fills a pattern in, as a template of an image is: within limits, since
// the pattern may be that of an instance or a pool that comes from elsewhere.
func renderPattern(ctx context.Context, pattern string, now time.Time) (string, error) {
	if !strings.ContainsAny(pattern, "{}") {
		return pattern, nil
	}
	out, err := template.Render(ctx, []byte(pattern), template.Data{CreationDate: now})
	if err != nil {
		return "", fmt.Errorf("cannot fill in the pattern: %w", err)
	}
	return string(out), nil
}
