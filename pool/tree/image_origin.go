package tree

import (
	"slices"
	"strings"
)

// strength ranks how far what a source sends can be relied upon: signed, then https, then anything else.
func (src *ImageSource) strength() int {
	n := 0
	switch {
	case src == nil:
		return -1
	case len(src.SignedBy) > 0:
		n = 2
	}
	if strings.HasPrefix(src.Server, "https://") {
		n++
	}
	return n
}

// same says whether two sources are one alias of one server, as far as it is asked for the same keys.
func (src *ImageSource) same(other *ImageSource) bool {
	return src != nil && other != nil && src.Server == other.Server && src.Alias == other.Alias && src.Protocol == other.Protocol &&
		slices.Equal(src.SignedBy, other.SignedBy)
}

// PulledAgain makes rec, which is there already, one that the user has pulled from src. That is where later versions come
// from then, unless it is an image that the user has, from a source that is signed where src is not, or that is reached by
// https: what has that image's aliases must not come to follow a weaker one. kept says that it is so. Whether the image is
// to be kept up to date goes with the source, and what was only cached for instances is so only if that was asked for.
func (rec *ImageRecord) PulledAgain(src ImageSource, autoUpdate bool) (kept bool) {
	kept = !rec.Cached && src.strength() < rec.Source.strength()
	if kept || !rec.Cached && rec.Source.same(&src) {
		autoUpdate = autoUpdate || rec.AutoUpdate
	}
	if !kept {
		rec.Source = &src
	}
	rec.AutoUpdate, rec.Cached = autoUpdate, false
	return kept
}

// ImportedAgain makes rec, which is there already, one that the user has brought here as files: what was only cached for
// instances follows no server any more.
func (rec *ImageRecord) ImportedAgain() {
	if rec.Cached {
		rec.Source, rec.AutoUpdate, rec.Cached = nil, false, false
	}
}

// takeOrigin settles, for an image that takes the place of old and may have been there before, where its later versions come
// from and whether it follows them. That is as old had it, as it is old that was looked for. But what was only cached says
// nothing of what the user has, and what is signed, or comes by https, is not given up for what does not.
func (rec *ImageRecord) takeOrigin(old ImageRecord) {
	switch {
	case old.Cached && !rec.Cached:
	case old.Source.strength() >= rec.Source.strength():
		rec.Source, rec.AutoUpdate = old.Source, old.AutoUpdate
	case rec.Cached && !old.Cached:
		rec.AutoUpdate = old.AutoUpdate // the user's word, on the better source
	}
	rec.Cached = rec.Cached && old.Cached
}
