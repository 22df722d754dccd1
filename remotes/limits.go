package remotes

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Limits on what a server's documents may hold, each several times what the
// largest real catalogues have (12 MB and 40,000 objects of all Ubuntu releases).
// They bound the memory and the time that reading them takes.
const (
	// maxDocument bounds a JSON document, unpacked, in bytes.
	maxDocument = 24 << 20
	// maxObjects bounds the objects and maxValues the values of a document.
	maxObjects = 128 << 10
	maxValues  = 1 << 20
	// maxImages bounds the images of a remote, and maxAliases their aliases.
	maxImages  = 16 << 10
	maxAliases = 128 << 10
	// maxNames bounds the aliases of one product and maxRequirements its
	// requirements; what is beyond that is left out.
	maxNames        = 64
	maxRequirements = 64
)

// LimitError says what there is too much of in a catalogue.
type LimitError struct {
	What  string
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("it has more than %d %s", e.Limit, e.What)
}

// checkSize holds a document against the limits before anything is made of it: by
// the marks that each object and each value costs, in names and texts or not.
func checkSize(body []byte) error {
	switch {
	case len(body) > maxDocument:
		return errTooLarge
	case bytes.Count(body, []byte("{")) > maxObjects:
		return &LimitError{"objects", maxObjects}
	case bytes.Count(body, []byte(","))+bytes.Count(body, []byte("[")) > maxValues:
		return &LimitError{"values", maxValues}
	}
	return nil
}

// requirements are a product's; more than there can be are none.
type requirements map[string]looseString

// UnmarshalJSON implements json.Unmarshaler.
func (r *requirements) UnmarshalJSON(b []byte) error {
	if bytes.Count(b, []byte(",")) >= maxRequirements {
		return nil
	}
	var m map[string]looseString
	err := json.Unmarshal(b, &m)
	*r = m
	return err
}
