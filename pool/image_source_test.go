package pool

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"poolctl/pool/tree"
	"poolctl/remotes"
)

// TestSourceClient: what came from a signed catalogue is asked of a remote with a keyring only, wherever that is.
func TestSourceClient(t *testing.T) {
	s := newSystem(t)
	e, err := openpgp.NewEntity("us", "", "us@example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	var keyring bytes.Buffer
	if err := e.Serialize(&keyring); err != nil {
		t.Fatal(err)
	}
	signed := remotes.Remote{Name: "a", URL: "https://a.example.org", Keyring: keyring.Bytes()}
	plain := remotes.Remote{Name: "a", URL: "https://a.example.org"}
	from, err := sourceOf(signed, "x")
	if err != nil || len(from.SignedBy) != 1 || len(from.SignedBy[0]) < 40 {
		t.Fatalf("%+v, %v", from, err)
	}
	unsigned, err := sourceOf(plain, "x")
	if err != nil || unsigned.SignedBy != nil {
		t.Fatalf("%+v, %v", unsigned, err)
	}
	weak := remotes.Remote{Name: "w", URL: "http://a.example.org", Mirrors: []string{"https://a.example.org"}, InsecureHTTP: true}
	other := func(r remotes.Remote, name string) remotes.Remote { r.Name = name; return r }
	moved := func(r remotes.Remote) remotes.Remote { r.URL = "https://b.example.org"; return r }
	for name, c := range map[string]struct {
		remotes []remotes.Remote
		src     tree.ImageSource
		want    string // the remote, or the error
	}{
		"the same":                    {[]remotes.Remote{signed}, from, "a"},
		"no keyring any more":         {[]remotes.Remote{plain}, from, "had to be signed"},
		"one without, one with":       {[]remotes.Remote{plain, other(signed, "s")}, from, "s"},
		"moved with its keyring":      {[]remotes.Remote{moved(signed)}, from, "a"},
		"moved without":               {[]remotes.Remote{moved(plain)}, from, "had to be signed"},
		"removed":                     {nil, from, "there is no remote a any more"},
		"another one, by http too":    {[]remotes.Remote{weak}, unsigned, "there is no remote a any more"},
		"the same, by http too":       {[]remotes.Remote{other(weak, "a")}, unsigned, "a"},
		"it was unsigned":             {[]remotes.Remote{plain}, unsigned, "a"},
		"it was unsigned, now signed": {[]remotes.Remote{signed}, unsigned, "a"},
	} {
		for _, r := range c.remotes {
			if err := s.AddRemote(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		client, err := s.sourceClient(ImageSource(c.src))
		var got string
		if err != nil {
			got = err.Error()
		} else {
			got = client.Remote().Name
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		for _, r := range c.remotes {
			if err := s.RemoveRemote(t.Context(), r.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestIsStaleExpired: a cached image goes when it was not used for long, or has expired and was not used for a day.
func TestIsStaleExpired(t *testing.T) {
	now := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		rec    tree.ImageRecord
		expiry time.Duration
		want   bool
	}{
		"used lately":             {tree.ImageRecord{Cached: true, LastUsedAt: now.Add(-9 * day)}, 10 * day, false},
		"unused":                  {tree.ImageRecord{Cached: true, LastUsedAt: now.Add(-11 * day)}, 10 * day, true},
		"kept":                    {tree.ImageRecord{LastUsedAt: now.Add(-11 * day), ExpiresAt: now.Add(-day)}, 10 * day, false},
		"never used":              {tree.ImageRecord{Cached: true, UploadedAt: now.Add(-11 * day)}, 10 * day, true},
		"for ever":                {tree.ImageRecord{Cached: true, LastUsedAt: now.Add(-90 * day), ExpiresAt: now.Add(-day)}, 0, false},
		"expired":                 {tree.ImageRecord{Cached: true, LastUsedAt: now.Add(-2 * day), ExpiresAt: now.Add(-time.Hour)}, 10 * day, true},
		"expired, used today":     {tree.ImageRecord{Cached: true, LastUsedAt: now.Add(-time.Hour), ExpiresAt: now.Add(-day)}, 10 * day, false},
		"expires tomorrow":        {tree.ImageRecord{Cached: true, LastUsedAt: now.Add(-2 * day), ExpiresAt: now.Add(day)}, 10 * day, false},
		"never expires":           {tree.ImageRecord{Cached: true, LastUsedAt: now.Add(-2 * day), ExpiresAt: neverExpires}, 10 * day, false},
		"nobody knows since when": {tree.ImageRecord{Cached: true}, 10 * day, false},
	} {
		if got := isStale(c.rec, c.expiry, now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
