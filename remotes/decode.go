package remotes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lxc/lxd/shared/simplestreams"
)

// dataType marks the entries of an index and the products files that hold
// downloadable images; Ubuntu's index also has "image-ids" of clouds.
const dataType = "image-downloads"

// maxProductFiles bounds how many products files one index may name.
const maxProductFiles = 64

// productsHead is simplestreams.Products, by a name that leaves room for the
// field Products.
type productsHead = simplestreams.Products

// productsFile is simplestreams.Products with our products.
type productsFile struct {
	productsHead
	Products map[string]product `json:"products"`
	size     int                // of the document in bytes, and how many objects it has at most
	objects  int
}

// product adds what Incus writes where LXD has lxd_requirements.
type product struct {
	simplestreams.Product
	LXDRequirements requirements       `json:"lxd_requirements"`
	Requirements    requirements       `json:"requirements"`
	Versions        map[string]version `json:"versions"`
}

// version is simplestreams.ProductVersion with our items.
type version struct {
	simplestreams.ProductVersion
	Items map[string]item `json:"items"`
}

// item adds Incus's type of a unified image.
type item struct {
	simplestreams.ProductVersionItem
	Size         looseInt `json:"size"`
	CombinedType string   `json:"combined_type"`
}

// looseString takes a string, or a number or boolean by its spelling.
type looseString string

// UnmarshalJSON implements json.Unmarshaler; what is no scalar is "".
func (s *looseString) UnmarshalJSON(b []byte) error {
	var v string
	switch {
	case json.Unmarshal(b, &v) == nil: // null leaves v empty
	case b[0] != '{' && b[0] != '[':
		v = string(b)
	}
	*s = looseString(v)
	return nil
}

// looseInt takes an integer, written as a number or as a string.
type looseInt int64

// UnmarshalJSON implements json.Unmarshaler; what is no integer is 0.
func (i *looseInt) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64)
	if err != nil {
		n = 0
	}
	*i = looseInt(n)
	return nil
}

// decode unmarshals a document of a server. A value of another type than
// expected somewhere in it (encoding/json leaves that field zero and goes on)
// is tolerated: real servers have such. What is no JSON object is not.
func decode(body []byte, into any) error {
	if err := checkSize(body); err != nil {
		return err
	}
	trimmed := bytes.TrimLeft(body, " \t\r\n\ufeff")
	if len(trimmed) == 0 {
		return errors.New("it is empty")
	}
	if trimmed[0] != '{' {
		return fmt.Errorf("it is no JSON object: it begins with %q", trimmed[:min(len(trimmed), 16)])
	}
	err := json.Unmarshal(trimmed, into)
	var te *json.UnmarshalTypeError
	var se *json.SyntaxError
	switch {
	case errors.As(err, &te):
		return nil
	case errors.As(err, &se):
		return fmt.Errorf("it is broken JSON at byte %d: %w", se.Offset, err)
	case err != nil:
		return fmt.Errorf("it is broken JSON: %w", err)
	}
	return nil
}

// indexFile is simplestreams.Stream with what is needed of it.
type indexFile struct {
	Format string                `json:"format"`
	Index  map[string]indexEntry `json:"index"`
}

type indexEntry struct {
	DataType string `json:"datatype"`
	Path     string `json:"path"`
	Products isSome `json:"products"`
}

// isSome says whether a list has anything in it.
type isSome bool

// UnmarshalJSON implements json.Unmarshaler.
func (s *isSome) UnmarshalJSON(b []byte) error {
	*s = b[0] == '[' && len(bytes.Trim(b, "[] \t\r\n")) > 0
	return nil
}

// parseIndex reads streams/v1/index.json and gives the paths of the products
// files with images, sorted. An entry that is no object, no "image-downloads",
// or lists no products is left out, as LXD and Incus do.
func parseIndex(body []byte) ([]string, error) {
	var s indexFile
	if err := decode(body, &s); err != nil {
		return nil, fmt.Errorf("cannot read the index: %w", err)
	}
	if s.Index == nil {
		return nil, errors.New(`cannot read the index: it has no "index" object`)
	}
	if s.Format != "" && s.Format != "index:1.0" {
		return nil, fmt.Errorf("cannot read the index: its format is %q, not \"index:1.0\"", printable(s.Format))
	}
	var paths []string
	images := false
	for _, e := range s.Index {
		if e.DataType != dataType {
			continue
		}
		images = true
		if !bool(e.Products) || slices.Contains(paths, e.Path) {
			continue
		}
		if err := checkPath(e.Path); err != nil {
			return nil, fmt.Errorf("cannot read the index: the path %q is refused: %w", e.Path, err)
		}
		if paths = append(paths, e.Path); len(paths) > maxProductFiles {
			return nil, fmt.Errorf("cannot read the index: it names more than %d files", maxProductFiles)
		}
	}
	if !images {
		return nil, fmt.Errorf("cannot read the index: it offers no images (no entry has datatype %q)", dataType)
	}
	slices.Sort(paths)
	return paths, nil
}

// parseProducts reads a products file.
func parseProducts(body []byte) (*productsFile, error) {
	var p productsFile
	if err := decode(body, &p); err != nil {
		return nil, fmt.Errorf("cannot read the products: %w", err)
	}
	if p.Products == nil {
		return nil, errors.New(`cannot read the products: there is no "products" object`)
	}
	if p.Format != "" && p.Format != "products:1.0" {
		return nil, fmt.Errorf("cannot read the products: the format is %q, not \"products:1.0\"", printable(p.Format))
	}
	if len(p.Products) > 0 && !hasVersions(p.Products) {
		return nil, errors.New(`cannot read the products: none has a "versions" object`)
	}
	p.size, p.objects = len(body), bytes.Count(body, []byte("{"))
	return &p, nil
}

// hasVersions tells a products file from something that only looks like one.
func hasVersions(all map[string]product) bool {
	for _, p := range all {
		if p.Versions != nil {
			return true
		}
	}
	return false
}
