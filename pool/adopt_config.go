package pool

import "strings"

// opensHost says whether a setting gives away what keeps an instance from its
// host: in a pool from elsewhere, whoever filled it may have set it for that.
func opensHost(key, value string) bool {
	switch key {
	case privilegedKey:
		return isTrue(value)
	case syscallsDefaultKey:
		return value != "" && !isTrue(value)
	case rawIDMapKey, idmapBaseKey, syscallsAllowKey:
		return value != ""
	}
	return false
}

// hideKeys puts what opens the host into keys without an effect, in place.
func hideKeys(config map[string]string) {
	for _, k := range sortedKeys(config) {
		if opensHost(k, config[k]) {
			config[hiddenPrefix+k] = config[k]
			delete(config, k)
		}
	}
}

// hiddenKeys names the keys that hideKeys has hidden in now and that had did not
// hide yet.
func hiddenKeys(had, now map[string]string) []string {
	var out []string
	for _, k := range sortedKeys(now) {
		key, hidden := strings.CutPrefix(k, hiddenPrefix)
		if _, before := had[k]; hidden && !before {
			out = append(out, key)
		}
	}
	return out
}

// noticeHiddenKeys tells of settings that were hidden, and how to have them again.
func (s *System) noticeHiddenKeys(where, command string, had, now map[string]string) {
	for _, k := range hiddenKeys(had, now) {
		s.noticef("%s: %s is set aside, because it gives away what keeps the instance from this host; to set it again: %s %s",
			where, k, command, shellWord(k+"="+now[hiddenPrefix+k]))
	}
}
