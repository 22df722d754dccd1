package remotes

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"
)

// stallNotice is after how long without a byte the user is told of it.
const stallNotice = 7 * time.Second

// fruitlessTime bounds how long a download goes on in all, over as many tries as that
// may be, while no byte of it comes.
const fruitlessTime = 85 * time.Second

// stalls tells the user of servers that send nothing, once for all files that come from
// one at the same time.
type stalls struct {
	after  time.Duration
	notice func(string)

	mu   sync.Mutex
	told map[string]time.Time // by what was said
}

// tell says something, unless it was said within the time of one stall.
func (s *stalls) tell(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.told[line]) < s.after {
		return
	}
	if s.told == nil {
		s.told = map[string]time.Time{}
	}
	s.told[line] = time.Now()
	s.notice(line)
}

// timer tells of a server of which nothing has come for a while, until it is stopped.
func (s *stalls) timer(rawURL string) *time.Timer {
	return time.AfterFunc(s.after, func() { s.tell(fmt.Sprintf("no data from %s for %s", hostOf(rawURL), seconds(s.after))) })
}

// again says that a server which was silent is asked once more.
func (s *stalls) again(rawURL string, cause error) {
	if isStall(cause) {
		s.tell(fmt.Sprintf("trying again: %s: %v", hostOf(rawURL), cause))
	}
}

// isStall says whether a transfer ended because nothing came.
func isStall(err error) bool {
	var timeout net.Error
	return errors.Is(err, errIdle) || errors.Is(err, errSilent) || errors.As(err, &timeout) && timeout.Timeout()
}

// hostOf is the host that a URL names.
func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		return printable(rawURL)
	}
	return u.Host
}

// seconds writes a time for messages.
func seconds(d time.Duration) string {
	if d < time.Second {
		return d.String()
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}
