package tree

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	sectionContainer       = "container"
	sectionSnapshots       = "snapshots"
	sectionVolumeSnapshots = "volume_snapshots"
	// writeBuffer is the most that is gathered before it is written: what btrfs compresses at a time.
	writeBuffer = 128 << 10
)

// document is a backup.yaml in its parts, which are JSON.
//
// It is written as a JSON object with one member on a line, and one element of the two lists that grow with every snapshot:
// that way it is taken apart by its lines, and of a thousand snapshots nothing is decoded but what is needed. JSON has no line
// breaks in strings. The lists are last, the one with more in it first: with one more snapshot, most of the file is as it was.
type document struct {
	// members are all but the two lists.
	members map[string]json.RawMessage
	lists   map[string][]json.RawMessage
	// lines says that it was written that way.
	lines bool
	// raw is the file that it was read from and is which one that was, of a large record.
	raw []byte
	is  fileIdentity
}

// parseDocument takes a backup.yaml apart: what write wrote, any other JSON, or YAML.
func parseDocument(raw []byte) (document, error) {
	if d, ok := parseLines(raw); ok {
		return d, nil
	}
	asJSON, err := toJSON(raw)
	if err != nil {
		return document{}, err
	}
	d := newDocument()
	if err := json.Unmarshal(yamlSafe(asJSON), &d.members); err != nil {
		return document{}, err
	}
	for _, name := range []string{sectionSnapshots, sectionVolumeSnapshots} {
		var list []json.RawMessage
		if member, there := d.members[name]; there {
			if err := json.Unmarshal(member, &list); err != nil {
				return document{}, err
			}
			d.lists[name] = list
			delete(d.members, name)
		}
	}
	return d, nil
}

func newDocument() document {
	return document{members: map[string]json.RawMessage{}, lists: map[string][]json.RawMessage{}}
}

// parseLines is parseDocument for what write wrote; ok is false for anything else.
func parseLines(raw []byte) (d document, ok bool) {
	rest, ok := bytes.CutPrefix(raw, []byte("{\n"))
	if !ok {
		return document{}, false
	}
	d = newDocument()
	d.lines = true
	for {
		var line []byte
		if line, rest, ok = bytes.Cut(rest, []byte("\n")); !ok {
			return document{}, false
		}
		if len(line) == 1 && line[0] == '}' {
			return d, len(rest) == 0
		}
		key, value, ok := cutKey(line)
		if !ok {
			return document{}, false
		}
		isList := key == sectionSnapshots || key == sectionVolumeSnapshots
		if isList && len(value) == 1 && value[0] == '[' {
			if d.lists[key], rest, ok = cutList(rest); !ok {
				return document{}, false
			}
			continue
		}
		if key == sectionContainer {
			ok = len(value) > 1 && value[0] == '{' && value[len(value)-1] == '}' // decodeDocument sees whether it is valid
		} else {
			ok = json.Valid(value)
		}
		if !ok {
			return document{}, false
		}
		if !isList {
			d.members[key] = value
		} else if string(value) != "[]" {
			return document{}, false
		}
	}
}

// cutKey takes `"KEY": VALUE` apart, with or without a comma behind it.
func cutKey(line []byte) (key string, value []byte, ok bool) {
	head, value, ok := bytes.Cut(line, []byte(`": `))
	if !ok || len(head) == 0 || head[0] != '"' || bytes.ContainsAny(head[1:], `"\`) {
		return "", nil, false
	}
	return string(head[1:]), bytes.TrimSuffix(value, []byte(",")), true
}

// cutList takes the elements of a list from the lines up to the one that ends it.
func cutList(lines []byte) (list []json.RawMessage, rest []byte, ok bool) {
	list = make([]json.RawMessage, 0, bytes.Count(lines, []byte("\n")))
	for {
		var line []byte
		if line, lines, ok = bytes.Cut(lines, []byte("\n")); !ok || len(line) == 0 {
			return nil, nil, false
		}
		if line[0] == ']' {
			return list, lines, true
		}
		line = bytes.TrimSuffix(line, []byte(","))
		if len(line) < 2 || line[0] != '{' || line[len(line)-1] != '}' {
			return nil, nil, false
		}
		list = append(list, line)
	}
}

// size is about how many bytes write will write.
func (d document) size() int {
	size := 64
	for key, list := range d.lists {
		for _, element := range list {
			size += len(element) + 2
		}
		size += len(key) + 8
	}
	for key, member := range d.members {
		size += len(key) + len(member) + 6
	}
	return size
}

// write writes the document.
func (d document) write(to io.Writer) error {
	b := bufio.NewWriterSize(to, min(d.size(), writeBuffer))
	keys := slices.Sorted(maps.Keys(d.members))
	for _, key := range slices.Sorted(maps.Keys(d.lists)) {
		if len(d.lists[key]) > 0 { // LXD leaves empty ones out
			keys = append(keys, key)
		}
	}
	put := func(text string) { _, _ = b.WriteString(text) } // Flush has its error
	put("{\n")
	for i, key := range keys {
		name, err := marshal(key)
		if err != nil {
			return err
		}
		put(string(name) + ": ")
		if member, there := d.members[key]; there {
			err = writeLine(b, member)
		} else {
			err = writeList(b, d.lists[key])
		}
		if err != nil {
			return err
		}
		put(commaUnless(i == len(keys)-1))
	}
	put("}\n")
	return b.Flush()
}

func writeList(b *bufio.Writer, list []json.RawMessage) error {
	_, _ = b.WriteString("[\n") // the last one has its error
	for i, element := range list {
		if err := writeLine(b, element); err != nil {
			return err
		}
		_, _ = b.WriteString(commaUnless(i == len(list)-1))
	}
	_, err := b.WriteString("]")
	return err
}

func commaUnless(last bool) string {
	if last {
		return "\n"
	}
	return ",\n"
}

// writeLine writes a value of JSON without line breaks.
func writeLine(b *bufio.Writer, value json.RawMessage) error {
	if bytes.IndexByte(value, '\n') >= 0 {
		var compact bytes.Buffer
		if err := json.Compact(&compact, value); err != nil {
			return err
		}
		value = compact.Bytes()
	}
	_, err := b.Write(value)
	return err
}

// marshal is json.Marshal for what YAML is to take as well.
func marshal(v any) (json.RawMessage, error) {
	raw, err := json.Marshal(v)
	return yamlSafe(raw), err
}

// yamlSafe escapes the characters of a JSON text that YAML does not allow in a string, or takes for a line break
// (YAML 1.1, c-printable and b-char), and JSON does.
func yamlSafe(raw []byte) []byte {
	printable := func(r rune) bool {
		return r < 0x7f || r >= 0xa0 && r != 0xfeff && r != 0xfffe && r != 0xffff
	}
	if bytes.IndexFunc(raw, func(r rune) bool { return !printable(r) }) < 0 {
		return raw
	}
	out := make([]byte, 0, len(raw)+16)
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		if printable(r) {
			out = append(out, raw[:n]...)
		} else {
			hex := strconv.FormatInt(int64(r), 16)
			out = append(append(out, `\u0000`[:6-len(hex)]...), hex...)
		}
		raw = raw[n:]
	}
	return out
}

// toJSON turns YAML into JSON. What begins as a JSON object and is one stays as it is.
func toJSON(raw []byte) ([]byte, error) {
	trimmed := bytes.TrimSpace(raw)
	if len(trimmed) == 0 {
		return nil, errors.New("it is empty")
	}
	if trimmed[0] == '{' && trimmed[len(trimmed)-1] == '}' {
		return trimmed, nil
	}
	var v map[string]any
	if err := yaml.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// object decodes a JSON object into its members; what is none has no members.
func object(raw []byte) map[string]json.RawMessage {
	members := map[string]json.RawMessage{}
	if json.Unmarshal(raw, &members) == nil && members != nil {
		return members
	}
	return map[string]json.RawMessage{}
}
