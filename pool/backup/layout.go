package backup

import "strings"

const binSuffix = ".bin"

// Layout says where in a backup the files and the streams are.
type Layout struct {
	volume, snapshots string // directories
}

// Layout is that of a backup of this type; of one that is not known here there is none.
func (in Index) Layout() (l Layout, known bool) {
	switch in.Type {
	case TypeContainer:
		return Layout{"backup/container", "backup/snapshots"}, true
	case TypeCustom:
		return Layout{"backup/volume", "backup/volume-snapshots"}, true
	}
	return Layout{}, false
}

// Dir is the directory of the files of the volume, or of one of its snapshots.
func (l Layout) Dir(snapshot string) string {
	if snapshot == "" {
		return l.volume
	}
	return l.snapshots + "/" + snapshot
}

// Above says whether name is a directory that others are in, such as "backup".
func (l Layout) Above(name string) bool { return name == "backup" || name == l.snapshots }

// File is what the stream of a subvolume is called.
func (l Layout) File(s Subvolume) string {
	name := l.Dir(s.Snapshot)
	if s.Path != "/" {
		name += "_" + EncodePath(strings.TrimPrefix(s.Path, "/"))
	}
	return name + binSuffix
}

// EncodePath makes one component of a path: "-" is doubled, "/" becomes "-" (LXD's filesystem.PathNameEncode).
func EncodePath(path string) string {
	return strings.ReplaceAll(strings.ReplaceAll(path, "-", "--"), "/", "-")
}

// Split says what a name in the archive is of: the snapshot, "" for the volume itself, and the path in it, "." for its top.
func (l Layout) Split(name string) (snapshot, rel string, ok bool) {
	if name == l.volume {
		return "", ".", true
	}
	if rel, found := strings.CutPrefix(name, l.volume+"/"); found {
		return "", rel, true
	}
	rest, found := strings.CutPrefix(name, l.snapshots+"/")
	if !found {
		return "", "", false
	}
	snapshot, rel, found = strings.Cut(rest, "/")
	if !found {
		rel = "."
	}
	return snapshot, rel, snapshot != ""
}
