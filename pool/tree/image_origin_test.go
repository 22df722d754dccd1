package tree

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	signedSource = &ImageSource{Remote: "sig", Server: "https://sig", Alias: "x", SignedBy: []string{"AB"}}
	httpsSource  = &ImageSource{Remote: "https", Server: "https://plain", Alias: "x"}
	otherSource  = &ImageSource{Remote: "other", Server: "https://other", Alias: "x"}
	httpSource   = &ImageSource{Remote: "http", Server: "http://plain", Alias: "x"}
	signedHTTP   = &ImageSource{Remote: "sighttp", Server: "http://sig", Alias: "x", SignedBy: []string{"AB"}}
)

// originFields are what an image's record says of where it comes from.
type originFields struct {
	Source             *ImageSource
	AutoUpdate, Cached bool
}

func (o originFields) record() ImageRecord {
	return ImageRecord{Source: o.Source, AutoUpdate: o.AutoUpdate, Cached: o.Cached}
}

func originOf(r ImageRecord) originFields { return originFields{r.Source, r.AutoUpdate, r.Cached} }

// TestTakeOverOrigin: what takes an image's place follows the same source, unless it was there before with a better one.
func TestTakeOverOrigin(t *testing.T) {
	for name, c := range map[string]struct{ rec, old, want originFields }{
		"signed by plain":           {originFields{httpSource, false, false}, originFields{signedSource, true, false}, originFields{signedSource, true, false}},
		"plain by signed":           {originFields{signedSource, false, false}, originFields{httpSource, true, false}, originFields{signedSource, false, false}},
		"https by http":             {originFields{httpSource, true, false}, originFields{httpsSource, false, false}, originFields{httpsSource, false, false}},
		"http by https":             {originFields{httpsSource, true, false}, originFields{httpSource, false, false}, originFields{httpsSource, true, false}},
		"signed http by https":      {originFields{httpsSource, true, false}, originFields{signedHTTP, false, false}, originFields{signedHTTP, false, false}},
		"equals":                    {originFields{otherSource, true, false}, originFields{httpsSource, false, false}, originFields{httpsSource, false, false}},
		"imported":                  {originFields{nil, false, false}, originFields{httpSource, true, false}, originFields{httpSource, true, false}},
		"kept by cached":            {originFields{httpsSource, true, true}, originFields{httpsSource, false, false}, originFields{httpsSource, false, false}},
		"kept by cached and better": {originFields{signedSource, true, true}, originFields{httpsSource, false, false}, originFields{signedSource, false, false}},
		"cached by kept":            {originFields{httpSource, false, false}, originFields{httpsSource, true, true}, originFields{httpSource, false, false}},
		"cached by imported":        {originFields{nil, false, false}, originFields{httpsSource, true, true}, originFields{nil, false, false}},
		"cached by cached":          {originFields{httpSource, true, true}, originFields{httpsSource, true, true}, originFields{httpsSource, true, true}},
	} {
		rec := c.rec.record()
		rec.TakeOver(c.old.record())
		if diff := cmp.Diff(c.want, originOf(rec)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestPulledAgain: the source that the user names last counts, unless what the user has is from a better one.
func TestPulledAgain(t *testing.T) {
	for name, c := range map[string]struct {
		rec  originFields
		src  *ImageSource
		auto bool
		want originFields
		kept bool
	}{
		"cached":                  {originFields{otherSource, true, true}, httpsSource, false, originFields{httpsSource, false, false}, false},
		"cached and better":       {originFields{signedSource, true, true}, httpsSource, false, originFields{httpsSource, false, false}, false},
		"cached, kept up to date": {originFields{otherSource, false, true}, httpsSource, true, originFields{httpsSource, true, false}, false},
		"another":                 {originFields{otherSource, true, false}, httpsSource, false, originFields{httpsSource, false, false}, false},
		"the same":                {originFields{httpsSource, true, false}, httpsSource, false, originFields{httpsSource, true, false}, false},
		"the same, from now on":   {originFields{httpsSource, false, false}, httpsSource, true, originFields{httpsSource, true, false}, false},
		"signed now":              {originFields{httpSource, true, false}, signedSource, false, originFields{signedSource, false, false}, false},
		"not signed":              {originFields{signedSource, true, false}, httpSource, false, originFields{signedSource, true, false}, true},
		"not signed, from now on": {originFields{signedSource, false, false}, httpSource, true, originFields{signedSource, true, false}, true},
		"not by https":            {originFields{httpsSource, false, false}, httpSource, false, originFields{httpsSource, false, false}, true},
		"imported":                {originFields{nil, false, false}, httpSource, false, originFields{httpSource, false, false}, false},
	} {
		rec := c.rec.record()
		kept := rec.PulledAgain(*c.src, c.auto)
		if diff := cmp.Diff(c.want, originOf(rec)); diff != "" || kept != c.kept {
			t.Errorf("%s: kept %v (-want +got):\n%s", name, kept, diff)
		}
	}
}

// TestImportedAgain: an image that was cached and is then imported follows nobody; one that was pulled still does.
func TestImportedAgain(t *testing.T) {
	for _, c := range []struct{ rec, want originFields }{
		{originFields{httpsSource, true, true}, originFields{nil, false, false}},
		{originFields{httpsSource, true, false}, originFields{httpsSource, true, false}},
	} {
		rec := c.rec.record()
		rec.ImportedAgain()
		if diff := cmp.Diff(c.want, originOf(rec)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
