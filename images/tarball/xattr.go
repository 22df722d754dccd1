package tarball

import (
	"archive/tar"
	"encoding/base64"
	"fmt"
	"net/url"
	"sort"
	"strings"

	"poolctl/images/internal/restore"
)

const (
	schilyXattr     = "SCHILY.xattr."
	libarchiveXattr = "LIBARCHIVE.xattr."
)

// entryXattrs collects the extended attributes of an entry from its PAX records:
// SCHILY.xattr.NAME (raw; GNU tar, star), LIBARCHIVE.xattr.NAME (base64, the name
// URL-encoded; bsdtar), SCHILY.acl.access and .default (text; GNU tar --acls,
// star, bsdtar). Names outside the namespaces of Linux (macOS writes some) are
// left out. Sorted by name.
func entryXattrs(hdr *tar.Header) ([]restore.Xattr, error) {
	if len(hdr.PAXRecords) == 0 {
		return nil, nil
	}
	found := map[string][]byte{}
	for key, value := range hdr.PAXRecords {
		switch {
		case strings.HasPrefix(key, schilyXattr):
			found[schilyName(key)] = []byte(value)
		case strings.HasPrefix(key, libarchiveXattr):
			name, raw, err := decodeLibarchive(key[len(libarchiveXattr):], value)
			if err != nil {
				return nil, err
			}
			if _, ok := hdr.PAXRecords[schilyKey(name)]; !ok {
				found[name] = raw
			}
		case key == "SCHILY.acl.access" || key == "SCHILY.acl.default":
			name := "system.posix_acl_" + key[len("SCHILY.acl."):]
			if _, ok := hdr.PAXRecords[schilyXattr+name]; ok {
				continue
			}
			raw, err := encodeACL(value)
			if err != nil {
				return nil, fmt.Errorf("cannot read its ACL: %w", err)
			}
			found[name] = raw
		}
	}
	list := make([]restore.Xattr, 0, len(found))
	for name, value := range found {
		if knownNamespace(name) {
			list = append(list, restore.Xattr{Name: name, Value: value})
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, nil
}

// schilyName is the name of an attribute from the key of its record, in which GNU
// tar quotes two characters, since an equals sign ends a key (xattr_encode_keyword
// in its src/xheader.c).
func schilyName(key string) string {
	name := key[len(schilyXattr):]
	if !strings.Contains(name, "%") {
		return name
	}
	return strings.NewReplacer("%3D", "=", "%25", "%").Replace(name)
}

// schilyKey is the reverse of schilyName.
func schilyKey(name string) string {
	return schilyXattr + strings.NewReplacer("%", "%25", "=", "%3D").Replace(name)
}

// decodeLibarchive decodes a LIBARCHIVE.xattr record (libarchive's
// archive_write_set_format_pax.c: URL-encoded name, base64 without padding).
func decodeLibarchive(name, value string) (string, []byte, error) {
	plain, err := url.PathUnescape(name)
	if err != nil {
		return "", nil, fmt.Errorf("cannot read the name of an extended attribute: %w", err)
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "=\n"))
	if err != nil {
		return "", nil, fmt.Errorf("cannot read its extended attribute %q: %w", plain, err)
	}
	return plain, raw, nil
}

// knownNamespace: the namespaces of xattr(7).
func knownNamespace(name string) bool {
	for _, prefix := range []string{"user.", "trusted.", "security."} {
		if strings.HasPrefix(name, prefix) && len(name) > len(prefix) {
			return true
		}
	}
	return name == "system.posix_acl_access" || name == "system.posix_acl_default"
}
