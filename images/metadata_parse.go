package images

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxNodes bounds what is looked at in a metadata.yaml: aliases (which are
// followed, not expanded) could make it much more than the file holds.
const maxNodes = 100_000

// parseMetadata reads a metadata.yaml. It walks the document's nodes and takes
// scalars as they are written, so that "release: 3.10" and "mode: 0644" stay
// what they say, quoted or not. JSON is YAML here.
func parseMetadata(b []byte) (*Metadata, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	p := &metadataParser{budget: maxNodes}
	if len(doc.Content) != 1 {
		return nil, errors.New("it is empty")
	}
	m := &Metadata{Properties: map[string]string{}, Templates: map[string]*Template{}}
	if err := p.eachKey(doc.Content[0], "the document", func(key string, v *yaml.Node) error { return p.topKey(m, key, v) }); err != nil {
		return nil, err
	}
	if m.Architecture == "" {
		return nil, errors.New("it names no architecture")
	}
	arch, ok := KernelArchitecture(m.Architecture)
	if !ok {
		return nil, fmt.Errorf("the architecture %.64q is unknown", m.Architecture)
	}
	m.Architecture = arch
	return m, nil
}

type metadataParser struct{ budget int }

func (p *metadataParser) topKey(m *Metadata, key string, v *yaml.Node) (err error) {
	switch key {
	case "architecture":
		m.Architecture, err = p.scalar(v, key)
	case "creation_date":
		m.CreationDate, err = p.seconds(v, key)
	case "expiry_date":
		m.ExpiryDate, err = p.seconds(v, key)
	case "properties":
		m.Properties, err = p.strings(v, key)
	case "templates":
		err = p.eachKey(v, key, func(path string, t *yaml.Node) error {
			m.Templates[path], err = p.template(path, t)
			return err
		})
	}
	return err
}

func (p *metadataParser) template(path string, v *yaml.Node) (*Template, error) {
	t := &Template{Properties: map[string]string{}}
	name := fmt.Sprintf("template %.256q", path)
	err := p.eachKey(v, name, func(key string, v *yaml.Node) (err error) {
		what := name + ": " + key
		switch key {
		case "when":
			t.When, err = p.list(v, what)
		case "create_only":
			t.CreateOnly, err = p.boolean(v, what)
		case "template":
			t.Template, err = p.scalar(v, what)
		case "properties":
			t.Properties, err = p.strings(v, what)
		case "uid":
			t.UID, err = p.scalar(v, what)
		case "gid":
			t.GID, err = p.scalar(v, what)
		case "mode":
			t.Mode, err = p.scalar(v, what)
		}
		return err
	})
	return t, err
}

// resolve follows aliases and counts.
func (p *metadataParser) resolve(n *yaml.Node) (*yaml.Node, error) {
	for {
		if p.budget--; p.budget < 0 {
			return nil, errors.New("it is too large")
		}
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			return n, nil
		}
		n = n.Alias
	}
}

// eachKey calls f for the entries of a mapping (null is an empty one).
func (p *metadataParser) eachKey(n *yaml.Node, what string, f func(key string, v *yaml.Node) error) error {
	n, err := p.resolve(n)
	if err != nil {
		return err
	}
	if n.ShortTag() == "!!null" {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("%s is not a mapping", what)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, err := p.scalar(n.Content[i], "a key of "+what)
		if err != nil {
			return err
		}
		if err := f(key, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// scalar is a value's text as written; null is "".
func (p *metadataParser) scalar(n *yaml.Node, what string) (string, error) {
	n, err := p.resolve(n)
	if err != nil {
		return "", err
	}
	if n.Kind != yaml.ScalarNode {
		return "", fmt.Errorf("%s is not a single value", what)
	}
	if n.ShortTag() == "!!null" {
		return "", nil
	}
	if strings.ContainsRune(n.Value, 0) {
		return "", fmt.Errorf("%s contains a NUL character", what)
	}
	return n.Value, nil
}

// strings is a mapping of scalars; values that are no scalars are left out.
func (p *metadataParser) strings(n *yaml.Node, what string) (map[string]string, error) {
	m := map[string]string{}
	err := p.eachKey(n, what, func(key string, v *yaml.Node) error {
		v, err := p.resolve(v)
		if err != nil || v.Kind != yaml.ScalarNode {
			return err
		}
		m[key], err = p.scalar(v, what+": "+key)
		return err
	})
	return m, err
}

// list is a sequence of scalars, or one scalar.
func (p *metadataParser) list(n *yaml.Node, what string) ([]string, error) {
	n, err := p.resolve(n)
	if err != nil || n.ShortTag() == "!!null" {
		return nil, err
	}
	items := n.Content
	if n.Kind == yaml.ScalarNode {
		items = []*yaml.Node{n}
	} else if n.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("%s is not a list", what)
	}
	var out []string
	for _, item := range items {
		s, err := p.scalar(item, what)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// boolean takes YAML's and LXD's words.
func (p *metadataParser) boolean(n *yaml.Node, what string) (bool, error) {
	s, err := p.scalar(n, what)
	if err != nil {
		return false, err
	}
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0", "":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither true nor false: %.64q", what, s)
}

// seconds is a time in seconds since 1970; fractions are cut off.
func (p *metadataParser) seconds(n *yaml.Node, what string) (int64, error) {
	s, err := p.scalar(n, what)
	if err != nil || s == "" {
		return 0, err
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > 1<<53 {
		return 0, fmt.Errorf("%s is not a time in seconds: %.64q", what, s)
	}
	return int64(f), nil
}
