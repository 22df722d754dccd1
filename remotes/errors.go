package remotes

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// NotFoundError says that a remote has no image by a name or fingerprint, as
// it was wanted.
type NotFoundError struct {
	Remote, Ref string
	Want        Want
	// Elsewhere lists where the alias does exist: other architectures and types.
	Elsewhere []Alias
	// Similar are the aliases that look most like Ref.
	Similar []string
}

// Error says what was not found, and for which architectures it exists.
func (e *NotFoundError) Error() string {
	msg := fmt.Sprintf("cannot find image %s:%s", e.Remote, e.Ref)
	if len(e.Elsewhere) == 0 {
		return msg + ": no such alias or fingerprint"
	}
	var there []string
	for _, a := range e.Elsewhere {
		s := a.Arch
		if a.Type == TypeVM {
			s += " (virtual machine)"
		}
		if !slices.Contains(there, s) {
			there = append(there, s)
		}
	}
	return msg + ": it exists only for " + strings.Join(there, ", ")
}

// Hint suggests what may have been meant.
func (e *NotFoundError) Hint() string {
	for _, a := range e.Elsewhere {
		if e.Want.Type == "" || e.Want.Type == a.Type {
			return fmt.Sprintf("%s:%s/%s is the one for %s", e.Remote, a.Name, a.Arch, a.Arch)
		}
	}
	if len(e.Similar) > 0 {
		return "similar: " + strings.Join(e.Similar, ", ")
	}
	return fmt.Sprintf("poolctl image list %s: shows what there is", e.Remote)
}

// AmbiguousError says that a fingerprint's beginning fits several images.
type AmbiguousError struct {
	Remote, Ref string
	Candidates  []Image
}

// maxNamed is how many candidates an error names.
const maxNamed = 5

// Error lists the first candidates.
func (e *AmbiguousError) Error() string {
	var names []string
	for _, img := range e.Candidates[:min(len(e.Candidates), maxNamed)] {
		n := img.Fingerprint[:min(len(img.Fingerprint), 12)]
		if a, _ := img.DisplayAlias(); a != "" {
			n += " (" + a + ")"
		} else {
			n += " (" + img.Description + ")"
		}
		names = append(names, n)
	}
	if more := len(e.Candidates) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("cannot find image %s:%s: %d fingerprints begin so: %s", e.Remote, e.Ref, len(e.Candidates), strings.Join(names, ", "))
}

// Hint says what to do.
func (e *AmbiguousError) Hint() string { return "give more digits of the fingerprint" }

// StatusError is an answer of a server other than the one asked for.
type StatusError struct {
	URL  string
	Code int
}

// Error gives the code and its meaning.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the server answered %d %s", e.Code, http.StatusText(e.Code))
}

// TransferError says that a file did not come in. What has come can be gone on with
// (OpenOptions.Keep), unless the server says that it has no such file.
type TransferError struct {
	URL string
	Err error
}

// Error says which file, and why.
func (e *TransferError) Error() string { return fmt.Sprintf("cannot download %s: %v", e.URL, e.Err) }

// Unwrap gives the cause.
func (e *TransferError) Unwrap() error { return e.Err }

// HashError says that a file arrived whole, but is not what the catalogue says.
type HashError struct {
	Path, Want, Got string // Want and Got are sha256 in hex
	// Resumed says that a part of it was kept from an earlier download, which is
	// forgotten now: begun anew the file may be right.
	Resumed bool
	// All are the URLs of a remote's mirrors, when every one of them has sent something else.
	All []string
}

// Error gives both hashes.
func (e *HashError) Error() string {
	text := fmt.Sprintf("%s has sha256 %s where the catalogue says %s", e.Path, e.Got, e.Want)
	if len(e.All) > 0 {
		text += ", and no mirror sends the right one: " + strings.Join(e.All, ", ")
	}
	return text
}

// SizeError says that a file is longer or shorter than the catalogue says.
type SizeError struct {
	Path      string
	Want, Got int64 // bytes; of a file that is too long, Got may be only as far as was read
}

// Error gives both sizes.
func (e *SizeError) Error() string {
	than := "shorter"
	if e.Got > e.Want {
		than = "longer"
	}
	return fmt.Sprintf("%s is %s (%d bytes) than the catalogue says (%d)", e.Path, than, e.Got, e.Want)
}
