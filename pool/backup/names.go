package backup

import "strings"

const (
	volumeDir    = "backup/volume"
	snapshotsDir = "backup/volume-snapshots"
	binSuffix    = ".bin"
)

// Dir is the directory of the files of a custom volume, or of one of its snapshots.
func Dir(snapshot string) string {
	if snapshot == "" {
		return volumeDir
	}
	return snapshotsDir + "/" + snapshot
}

// File is what the stream of a subvolume of a custom volume is called.
func (s Subvolume) File() string {
	name := Dir(s.Snapshot)
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
func Split(name string) (snapshot, rel string, ok bool) {
	if name == volumeDir {
		return "", ".", true
	}
	if rel, found := strings.CutPrefix(name, volumeDir+"/"); found {
		return "", rel, true
	}
	rest, found := strings.CutPrefix(name, snapshotsDir+"/")
	if !found {
		return "", "", false
	}
	snapshot, rel, found = strings.Cut(rest, "/")
	if !found {
		rel = "."
	}
	return snapshot, rel, snapshot != ""
}
