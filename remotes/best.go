package remotes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
)

// raceGrace is how long the other mirrors are waited for when the first has answered.
const raceGrace = 3 * time.Second

// answer is a mirror's catalogue, or why there is none.
type answer struct {
	mirror *mirror
	cat    *catalogue
	err    error
}

// loadBest reads the catalogue of a remote with mirrors: that of the mirror that was chosen within the expiry, or else the
// freshest of those that answer; the mirrors' order decides between equals. When none answers the freshest copy is used, unless
// the mirrors are to be asked.
func (c *Client) loadBest(ctx context.Context, check bool) (*catalogue, error) {
	if m := c.chosen(); m != nil && !check {
		if cat, err := c.loadFrom(ctx, &loading{Client: c, mirror: m, strict: true}); err == nil || ctx.Err() != nil {
			return cat, err
		}
	}
	answers := c.ask(ctx, check)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	best := freshest(answers)
	switch {
	case best == nil && check:
		return nil, noneAnswers(answers)
	case best == nil:
		return c.loadCopies(ctx, answers)
	}
	c.tellLeft(answers, best)
	c.noticeError(c.choose(best.mirror))
	return best.cat, nil
}

// ask asks all mirrors at once. Those that have not answered within the grace time after the first count as failed.
func (c *Client) ask(ctx context.Context, check bool) []answer {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	got := make(chan answer, len(c.mirrors))
	for _, m := range c.mirrors {
		go func() {
			cat, err := c.loadFrom(ctx, &loading{Client: c, mirror: m, check: check, strict: true})
			got <- answer{m, cat, err}
		}()
	}
	var late <-chan time.Time
	by := map[*mirror]answer{}
	for timeout := false; len(by) < len(c.mirrors) && !timeout; {
		select {
		case a := <-got:
			by[a.mirror] = a
			if a.err == nil && late == nil {
				late = time.After(c.grace)
			}
		case <-late:
			timeout = true
		}
	}
	answers := make([]answer, len(c.mirrors))
	for i, m := range c.mirrors {
		a, ok := by[m]
		if !ok {
			a = answer{mirror: m, err: fmt.Errorf("it did not answer within %s of another mirror", c.grace)}
		}
		if answers[i] = a; a.err != nil {
			m.fail()
		}
	}
	return answers
}

// freshest picks the answer with the newest version of an image; the first of equals; nil when there is none.
func freshest(answers []answer) *answer {
	var best *answer
	for i := range answers {
		a := &answers[i]
		if a.err == nil && (best == nil || a.cat.newest() > best.cat.newest()) {
			best = a
		}
	}
	return best
}

// newest is the latest serial in the catalogue, "" when it is empty.
func (c *catalogue) newest() string {
	newest := ""
	for i := range c.images {
		newest = max(newest, c.images[i].Serial)
	}
	return newest
}

// tellLeft tells why mirrors that the user prefers were left for the best one.
func (c *Client) tellLeft(answers []answer, best *answer) {
	for _, a := range answers {
		switch {
		case a.mirror == best.mirror:
			return
		case a.err != nil:
			c.noticeLeft(a.mirror, best.mirror, fmt.Sprintf("mirror %s of %s is left for %s: %v", a.mirror.url, c.remote.Name, best.mirror.url, a.err))
		default:
			c.notice(fmt.Sprintf("mirror %s of %s is stale (its newest image is of %s): using %s, which has one of %s",
				a.mirror.url, c.remote.Name, orNone(a.cat.newest()), best.mirror.url, best.cat.newest()))
		}
	}
}

// noticeLeft tells that one mirror is left for another, the first time: of a dead one each file and each try would tell it.
func (c *Client) noticeLeft(from, to *mirror, line string) {
	if _, told := c.leftFor.LoadOrStore([2]*mirror{from, to}, true); !told {
		c.notice(line)
	}
}

func orNone(serial string) string {
	if serial == "" {
		return "no date"
	}
	return serial
}

// loadCopies uses the freshest copy of a catalogue when no mirror answers.
func (c *Client) loadCopies(ctx context.Context, failed []answer) (*catalogue, error) {
	var copies []answer
	for _, a := range failed {
		cat, err := c.loadFrom(ctx, &loading{Client: c, mirror: a.mirror, copies: true})
		copies = append(copies, answer{a.mirror, cat, err})
	}
	best := freshest(copies)
	if best == nil {
		return nil, noneAnswers(failed)
	}
	c.notice(fmt.Sprintf("using a copy of %s's catalogue, whose newest image is of %s: no mirror answers: %s: %v",
		c.remote.Name, orNone(best.cat.newest()), failed[0].mirror.url, failed[0].err))
	return best.cat, nil
}

// noneAnswers says of each mirror why it did not answer.
func noneAnswers(failed []answer) error {
	var why []error
	for _, a := range failed {
		why = append(why, fmt.Errorf("%s: %w", a.mirror.url, a.err))
	}
	return fmt.Errorf("no mirror has it: %w", errors.Join(why...))
}

// choice is kept beside the cached documents: which mirror's catalogue is used, and which mirrors failed then.
type choice struct {
	URL    string   `json:"url"`
	Failed []string `json:"failed"`
}

func (c *Client) choiceFile() string { return filepath.Join(c.cache.dir, "mirror.json") }

// choose keeps the choice for the time of the expiry.
func (c *Client) choose(m *mirror) error {
	if c.cache.dir == "" {
		return nil
	}
	keep := choice{URL: m.url}
	for _, other := range c.mirrors {
		if other.hasFailed() {
			keep.Failed = append(keep.Failed, other.url)
		}
	}
	raw, err := json.Marshal(keep)
	if err == nil {
		err = c.cache.prepare(c.choiceFile())
	}
	if err == nil {
		err = renameio.WriteFile(c.choiceFile(), raw, 0o600, renameio.WithTempDir(c.cache.dir), renameio.IgnoreUmask())
	}
	if err != nil {
		return fmt.Errorf("cannot keep the choice of %s's mirror: %w", c.remote.Name, err)
	}
	return nil
}

// chosen is the mirror that was chosen within the expiry; nil when there is none. Those that failed then come last.
func (c *Client) chosen() *mirror {
	if c.cache.dir == "" {
		return nil
	}
	fi, err := os.Stat(c.choiceFile())
	if err != nil || fi.Size() > 1<<20 || !(&entry{checked: fi.ModTime()}).fresh(c.expiry) {
		return nil
	}
	raw, err := os.ReadFile(c.choiceFile())
	if err != nil {
		return nil
	}
	var kept choice
	if json.Unmarshal(raw, &kept) != nil {
		return nil
	}
	var found *mirror
	for _, m := range c.mirrors {
		if m.url == kept.URL {
			found = m
		} else if slices.Contains(kept.Failed, m.url) {
			m.fail()
		}
	}
	return found
}
