package images

import (
	"strings"

	"poolctl/images/tarball"
)

// Names in an unpacked image.
const (
	metadataFile = "metadata.yaml"
	templatesDir = "templates"
	rootfsDir    = "rootfs"
)

// isMetadata says whether an archive's entry (by its clean name) belongs to the
// image's metadata.
func isMetadata(name string) bool {
	if name == metadataFile || name == templatesDir {
		return true
	}
	_, ok := cutDir(name, templatesDir)
	return ok
}

// cutDir returns what follows dir and a slash in name.
func cutDir(name, dir string) (string, bool) {
	return strings.CutPrefix(name, dir+"/")
}

func (u *unpacker) metadataExtractor() *tarball.Extractor {
	return tarball.New(u.dir, tarball.Policy{FilesOnly: true, Pass: u.req.Pass}, u.req.Limits.metadataBudget())
}

// rootPolicy leaves out the contents of /dev, as LXD and Incus do: an instance's
// devices come from its runtime.
func (u *unpacker) rootPolicy() tarball.Policy {
	return tarball.Policy{Base: u.base, Pass: u.req.Pass, Skip: func(name string) bool { return strings.HasPrefix(name, "dev/") }}
}
