package pool

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"poolctl/pool/tree"
	"poolctl/remotes"
)

// sourceOf is what an image's record says of where it comes from.
func sourceOf(r remotes.Remote, alias string) (tree.ImageSource, error) {
	keys, err := r.KeyFingerprints()
	return tree.ImageSource{Remote: r.Name, Server: r.URL, Alias: alias, Protocol: r.Protocol, SignedBy: keys}, err
}

// sourceName is what a source is called in messages.
func sourceName(src *tree.ImageSource) string { return src.Remote + ":" + src.Alias }

// safety says by what a source is better than others.
func safety(src *tree.ImageSource) string {
	if len(src.SignedBy) > 0 {
		return "its catalogue is signed"
	}
	return "it is reached by https"
}

// sourceClient reads the remote that an image came from: that of its server's URL,
// where several have it the one of its name, else one with a keyring; or, when the
// user has given it another URL since, that of its name. A remote that was removed is
// not asked: the user wants it no more, and what keys sign its catalogue went with it.
// What came signed comes from a remote with a keyring, or not at all; and what came by https
// from no other remote that is also read by http.
func (s *System) sourceClient(src ImageSource) (*remotes.Client, error) {
	list, err := s.remoteList()
	if err != nil {
		return nil, err
	}
	weak := func(url string) bool { return strings.HasPrefix(url, "http://") }
	atServer := func(r remotes.Remote) bool {
		if r.Name != src.Remote && !weak(src.Server) && slices.ContainsFunc(append(slices.Clone(r.Mirrors), r.URL), weak) {
			return false
		}
		return r.URL == src.Server || slices.Contains(r.Mirrors, src.Server)
	}
	named := func(r remotes.Remote) bool { return r.Name == src.Remote }
	unsigned := false
	for _, is := range []func(remotes.Remote) bool{
		func(r remotes.Remote) bool { return named(r) && atServer(r) },
		func(r remotes.Remote) bool { return atServer(r) && len(r.Keyring) > 0 },
		atServer, named,
	} {
		i := slices.IndexFunc(list, is)
		if i < 0 {
			continue
		}
		if len(src.SignedBy) == 0 || len(list[i].Keyring) > 0 {
			return s.clientOf(list[i])
		}
		unsigned = true
	}
	if unsigned {
		return nil, withHint(errors.New("its catalogue had to be signed, and the remote that is there now has no keyring"),
			"poolctl remote remove it, and add it again with the --keyring of %s", strings.Join(src.SignedBy, ", "))
	}
	return nil, withHint(fmt.Errorf("there is no remote %s any more, which it came from, and none with the URL %s", src.Remote, src.Server),
		"poolctl remote add %s %s adds it again, with the --keyring that it had", src.Remote, src.Server)
}
