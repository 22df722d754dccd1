package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// How package yaml tells of a field that into has not, and of a value of another
// kind than into has.
var (
	unknownField = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^line (\d+): field (.*) not found in type ((?s:.*))$`)
	})
	otherKind = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile("^line (\\d+): cannot unmarshal !!(\\w+)(?: `((?s:.*))`)? into (.*)$")
	})
)

// errEmptyText is what decodeEdited says of a text with nothing but comments.
var errEmptyText = errors.New("the text is empty")

// decodeEdited reads YAML that somebody has written, which has no fields at its
// top but those.
func decodeEdited(text []byte, into any, fields ...string) error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	err := d.Decode(into)
	if errors.Is(err, io.EOF) {
		return errEmptyText
	}
	if typeErr, ok := errors.AsType[*yaml.TypeError](err); ok && len(typeErr.Errors) > 0 {
		return typeProblem(typeErr.Errors[0], reflect.TypeOf(into).Elem().String(), fields)
	}
	if err != nil { // of its syntax
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	return nil
}

// typeProblem puts what package yaml says of a field in the user's words; top is
// the type that has the fields.
func typeProblem(text, top string, fields []string) error {
	if m := unknownField().FindStringSubmatch(text); m != nil {
		if m[3] != top {
			return fmt.Errorf("line %s: unknown field %q", m[1], m[2])
		}
		return fmt.Errorf("line %s: unknown field %q: the fields are %s", m[1], m[2], strings.Join(fields, ", "))
	}
	if m := otherKind().FindStringSubmatch(text); m != nil {
		is := map[string]string{"map": "a mapping", "seq": "a list"}[m[2]]
		if is == "" {
			is = fmt.Sprintf("%q", m[3])
		}
		return fmt.Errorf("line %s: %s is where %s has to be", m[1], is, kindOf(m[4]))
	}
	return errors.New(text)
}

// kindOf names what the YAML for a type of Go is.
func kindOf(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case strings.HasPrefix(goType, "map["), strings.HasPrefix(goType, "struct"), strings.Contains(goType, "."):
		return "a mapping"
	case goType == "bool":
		return "true or false"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"), strings.HasPrefix(goType, "float"):
		return "a number"
	}
	return "a text"
}
