package remotes

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// ProtocolSimplestreams is the only protocol this package speaks.
const ProtocolSimplestreams = "simplestreams"

// maxNameLen bounds a remote's name, which also names its cache directory.
const maxNameLen = 63

// Remote is an image server.
type Remote struct {
	Name     string // as in NAME:IMAGE
	URL      string // the directory that holds streams/; see ParseURL
	Protocol string // "simplestreams"; "" means the same
	Public   bool   // nobody has to log in to it
	Builtin  bool   // one of Defaults
	// InsecureHTTP lets the URL be http://. The catalogue is then not
	// protected against anyone on the way: its hashes can be forged with it.
	InsecureHTTP bool
	// Mirrors are further URLs that serve the same files, the preferred first; see Client.
	Mirrors []string
	// Keyring is an OpenPGP keyring, armored or not. When there is one, only documents that one of its keys has signed are
	// read (streams/v1/index.sjson).
	Keyring []byte
}

// Defaults lists the remotes that are there from the start.
func Defaults() []Remote {
	var all []Remote
	for _, r := range [][2]string{
		{"images", "https://images.linuxcontainers.org"},
		{"tuna-images", "https://mirrors.tuna.tsinghua.edu.cn/lxc-images"},
		{"ubuntu", "https://cloud-images.ubuntu.com/releases"},
		{"ubuntu-daily", "https://cloud-images.ubuntu.com/daily"},
		{"ubuntu-minimal", "https://cloud-images.ubuntu.com/minimal/releases"},
	} {
		all = append(all, Remote{Name: r[0], URL: r[1], Protocol: ProtocolSimplestreams, Public: true, Builtin: true})
	}
	return all
}

// ValidateName checks a remote's name by incus's rules (no ":", "/" or space;
// "local" is taken), and, because it names a directory too, refuses control
// characters, a leading "." or "-", and more than 63 bytes.
func ValidateName(name string) error {
	switch {
	case name == "":
		return errors.New("a remote's name cannot be empty")
	case name == "local":
		return errors.New(`the name "local" stands for the pool's own images`)
	case len(name) > maxNameLen:
		return fmt.Errorf("a remote's name cannot be longer than %d bytes", maxNameLen)
	case name[0] == '.' || name[0] == '-':
		return fmt.Errorf("a remote's name cannot begin with %q", name[0])
	}
	for _, c := range name {
		if c == ':' || c == '/' || c == '\\' || unicode.IsSpace(c) || !unicode.IsPrint(c) || isControl(c) {
			return fmt.Errorf("a remote's name cannot hold %q", c)
		}
	}
	return nil
}

// ParseURL checks the URL of a remote and returns it in the form that is kept:
// https, no user, query or fragment, no trailing slash. A URL without a scheme
// is taken as https, as incus does. The error for http is a *InsecureURLError.
func ParseURL(s string) (string, error) {
	u, err := parseURL(s, false)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// InsecureURLError refuses an http:// URL that was not asked for as such.
type InsecureURLError struct{ URL string }

// Error says what is refused.
func (e *InsecureURLError) Error() string {
	return fmt.Sprintf("%q is not https", e.URL)
}

// Hint says how to use it all the same.
func (e *InsecureURLError) Hint() string {
	return "anyone between you and the server could replace the images; a remote made by remote add --insecure-http accepts that"
}

// parseURL is ParseURL; insecure admits http too.
func parseURL(s string, insecure bool) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("cannot read the URL: %w", hideUser(s, err))
	}
	if err := checkURL(u, insecure); err != nil {
		return nil, err
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath, u.Fragment, u.RawFragment, u.ForceQuery = "", "", "", false
	u.Host = strings.ToLower(u.Host)
	return u, nil
}

// checkURL holds a remote's URL to what ParseURL promises.
func checkURL(u *url.URL, insecure bool) error {
	switch {
	case u.User != nil:
		return errors.New("the URL of a remote cannot hold a user name or password")
	case u.Scheme == "http" && !insecure:
		return &InsecureURLError{URL: u.String()}
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("the URL of a remote must begin with https://, not %q", u.Scheme+"://")
	case u.Hostname() == "" || strings.HasSuffix(u.Host, ":"):
		return fmt.Errorf("%q names no server", u.String())
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Errorf("the URL of a remote cannot hold a query or fragment: %q", u.String())
	}
	for _, seg := range strings.Split(u.Path, "/") {
		if seg == "." || seg == ".." {
			return fmt.Errorf("the path of %q cannot hold %q", u.String(), seg)
		}
	}
	return nil
}

// hideUser keeps a password out of the error that url.Parse gives, which
// quotes its argument.
func hideUser(s string, err error) error {
	var ue *url.Error
	if strings.Contains(s, "@") && errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

// Normalize checks a remote's name, URL and protocol, and returns it with its
// URL in the form of ParseURL and its protocol filled in.
func (r Remote) Normalize() (Remote, error) {
	if err := ValidateName(r.Name); err != nil {
		return r, err
	}
	if r.Protocol == "" {
		r.Protocol = ProtocolSimplestreams
	}
	if r.Protocol != ProtocolSimplestreams {
		return r, fmt.Errorf("unknown protocol %q: only %q is spoken", r.Protocol, ProtocolSimplestreams)
	}
	u, err := parseURL(r.URL, r.InsecureHTTP)
	if err != nil {
		return r, err
	}
	r.URL = u.String()
	if r.Mirrors, err = r.normalizeMirrors(); err != nil {
		return r, err
	}
	if len(r.Keyring) > 0 {
		if _, err := parseKeyring(r.Keyring); err != nil {
			return r, err
		}
	}
	return r, nil
}

// normalizeMirrors gives the mirrors in the form of ParseURL, none of them twice.
func (r Remote) normalizeMirrors() ([]string, error) {
	var out []string
	for _, m := range r.Mirrors {
		u, err := parseURL(m, r.InsecureHTTP)
		if err != nil {
			return nil, err
		}
		if s := u.String(); s != r.URL && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	if len(out) >= maxMirrors {
		return nil, fmt.Errorf("a remote can have %d URLs at most", maxMirrors)
	}
	return out, nil
}
