package pool

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// hiddenPrefix is before the keys that a hidden disk had, in the device that
// hides it: "user.was.source".
const hiddenPrefix = "user.was."

// isHostDisk says whether a device is a disk of the host's: a directory or file
// that no pool has.
func isHostDisk(dev map[string]string) bool { return isDisk(dev) && dev["pool"] == "" }

// hideDisk is what an adopted instance has in the place of a disk or device node of
// the host's, or of a proxy: nothing, and what it was. Its paths were those of another host, or who filled
// the pool wants to get at this one's files.
func hideDisk(dev map[string]string) map[string]string {
	out := map[string]string{"type": "none"}
	for k, v := range dev {
		out[hiddenPrefix+k] = v
	}
	return out
}

// hiddenDisks names the disks, device nodes, proxies and devices of other types among devices that hideDisk has hidden.
func hiddenDisks(devices map[string]map[string]string) []string {
	var out []string
	for _, n := range sortedKeys(devices) {
		if devices[n]["type"] == "none" && devices[n][hiddenPrefix+"type"] != "" {
			out = append(out, n)
		}
	}
	return out
}

// otherType is the type of a hidden device that there is not here, such as gpu or usb; "" of others.
func otherType(hidden map[string]string) string {
	was := hidden[hiddenPrefix+"type"]
	if slices.Contains(deviceTypeNames(), was) {
		return ""
	}
	return was
}

// noticeHidden tells of a disk of an instance that is hidden, and how to have it
// again; where is the instance, or a snapshot of it.
func (s *System) noticeHidden(where, instance, name string, dev map[string]string) {
	if other := otherType(dev); other != "" {
		s.noticef("%s: device %s is hidden, because there are no devices of type %s here", where, shellWord(name), shellWord(other))
		return
	}
	names := shellWord(instance) + " " + shellWord(name)
	add := "poolctl config device add " + names + " " + shellWord(dev[hiddenPrefix+"type"])
	for _, k := range sortedKeys(dev) {
		if key, was := strings.CutPrefix(k, hiddenPrefix); was && key != "type" {
			add += " " + shellWord(key+"="+dev[k])
		}
	}
	source, path := hiddenPlaces(dev)
	s.noticef("%s: device %s is hidden, because it is %s of the host, on %s inside; to add it again: poolctl config device remove %s && %s",
		where, shellWord(name), shellWord(source), shellWord(path), names, add)
}

// hiddenPlaces are the source and the path of a hidden device: of a device node,
// one may be both.
func hiddenPlaces(dev map[string]string) (source, path string) {
	source, path = dev[hiddenPrefix+"source"], dev[hiddenPrefix+"path"]
	return cmp.Or(source, path), cmp.Or(path, source)
}

// shellWord is a word as a shell takes it, and as a terminal shows it: what does
// not print is escaped.
func shellWord(word string) string {
	plain := func(c rune) bool {
		return c < unicode.MaxASCII && (unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune("_-./:=@%+,", c))
	}
	switch {
	case word != "" && strings.IndexFunc(word, func(c rune) bool { return !plain(c) }) < 0:
		return word
	case strings.IndexFunc(word, func(c rune) bool { return !unicode.IsPrint(c) }) < 0:
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	inner := strings.TrimSuffix(strings.TrimPrefix(strconv.QuoteToASCII(word), `"`), `"`)
	return fmt.Sprintf("$'%s'", strings.ReplaceAll(strings.ReplaceAll(inner, `\"`, `"`), "'", `\'`))
}
