package runtime

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
)

// IDMap maps Size ids from ContainerID in an instance to HostID on the host.
type IDMap struct {
	ContainerID uint32 `json:"container_id"`
	HostID      uint32 `json:"host_id"`
	Size        uint32 `json:"size"`
}

// HostIDMap is that of a privileged instance: every id is the host's own. The last
// one is no id (man setreuid).
func HostIDMap() []IDMap { return []IDMap{{Size: math.MaxUint32}} }

// hostID is what an instance's id is on the host.
func hostID(maps []IDMap, id uint32) (int, bool) {
	for _, m := range maps {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return int(m.HostID) + int(id-m.ContainerID), true
		}
	}
	return 0, false
}

// What LXD uses when there is no /etc/subuid: far above what a host's own users
// have.
const (
	fallbackHostID = 1000000
	fallbackSize   = 1000000000
	// minIDs is what an image may expect to have: 16 bits of ids.
	minIDs = 65536
)

// DefaultIDMap returns the maps for user and group ids: the first range of at
// least 65536 that /etc/subuid and /etc/subgid (man subuid) give to root, or
// 1000000 and up where they give none.
func DefaultIDMap() (uids, gids []IDMap, err error) {
	uid, err := rangeFile("/etc/subuid")
	if err != nil {
		return nil, nil, err
	}
	gid, err := rangeFile("/etc/subgid")
	if err != nil {
		return nil, nil, err
	}
	return []IDMap{uid}, []IDMap{gid}, nil
}

func rangeFile(path string) (IDMap, error) {
	fallback := IDMap{HostID: fallbackHostID, Size: fallbackSize}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fallback, nil
	}
	if err != nil {
		return IDMap{}, fmt.Errorf("cannot read the id ranges: %w", err)
	}
	m, ok, err := parseRanges(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return IDMap{}, fmt.Errorf("cannot read the id ranges of %s: %w", path, err)
	}
	if !ok {
		return fallback, nil
	}
	return m, nil
}

// parseRanges finds root's first large enough range, by name or by number.
// Lines that are no ranges are passed over, as newuidmap does.
func parseRanges(r io.Reader) (IDMap, bool, error) {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		f := strings.Split(strings.TrimSpace(sc.Text()), ":")
		if len(f) != 3 || f[0] != "root" && f[0] != "0" {
			continue
		}
		first, err1 := strconv.ParseUint(f[1], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 != nil || err2 != nil || count < minIDs || first == 0 || first+count > math.MaxUint32 {
			continue
		}
		return IDMap{HostID: uint32(first), Size: uint32(count)}, true, nil
	}
	return IDMap{}, false, sc.Err()
}
