package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/table"
)

// Style is how a Reporter shows progress.
type Style int

const (
	// None shows nothing.
	None Style = iota
	// Lines writes a line when a part starts, one every ten seconds, and one when it
	// is done.
	Lines
	// Bars draws bars; the writer has to be a terminal.
	Bars
)

// refresh is the shortest time between two updates of a bar.
const refresh = 100 * time.Millisecond

// every is the time between two lines about a part.
const every = 10 * time.Second

// Reporter shows the parts of one operation. Its methods may be called from
// several goroutines.
type Reporter struct {
	mu    sync.Mutex
	w     io.Writer
	style Style
	bars  *mpb.Progress
	parts map[string]*part
	order []*part
}

type part struct {
	name        string
	done, total int64
	before      int64 // done at the start: of an earlier process
	start, last time.Time
	finished    bool
	bar         *mpb.Bar
}

// New makes a Reporter that writes to w.
func New(w io.Writer, style Style) *Reporter {
	return &Reporter{w: w, style: style, parts: map[string]*part{}}
}

// Update says that done of total bytes of the named part are done; total 0 is
// an unknown total. The first call for a name shows the part; done == total
// finishes it.
func (r *Reporter) Update(name string, done, total int64) {
	if r.style == None {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.part(name, 0, total)
	if p.finished {
		return
	}
	now := time.Now()
	p.done, p.total = done, max(total, 0)
	complete := p.total > 0 && p.done >= p.total
	if r.style == Lines && !complete && now.Sub(p.last) >= every {
		_, _ = fmt.Fprintf(r.w, "%s: %s\n", p.name, p.status(now))
		p.last = now
	}
	if p.bar != nil && (complete || now.Sub(p.last) >= refresh) {
		if p.total > 0 {
			p.bar.SetTotal(p.total, false)
		}
		p.bar.SetCurrent(p.done)
		p.last = now
	}
	if complete {
		r.finish(p)
	}
}

// Resume shows a part of which an earlier process has done so many bytes; they do not
// count for its rate.
func (r *Reporter) Resume(name string, before, total int64) {
	if r.style == None {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.part(name, before, total)
}

// sizeless hides that a writer is a terminal.
type sizeless struct{ io.Writer }

// newBars makes the bars. A terminal that does not say its size, as one on a serial
// line, counts as 80 columns wide, as mpb takes what is no terminal: it would draw
// nothing on one of no columns.
func newBars(w io.Writer) *mpb.Progress {
	options := []mpb.ContainerOption{mpb.WithRefreshRate(refresh), mpb.WithAutoRefresh()}
	if f, ok := w.(*os.File); ok {
		if width, height, err := term.GetSize(int(f.Fd())); err == nil && (width <= 0 || height <= 0) {
			return mpb.New(append(options, mpb.WithOutput(sizeless{w}))...)
		}
	}
	return mpb.New(append(options, mpb.WithOutput(w), mpb.WithWidth(48))...)
}

// part finds the part, or starts it.
func (r *Reporter) part(name string, before, total int64) *part {
	if p := r.parts[name]; p != nil {
		return p
	}
	now := time.Now()
	p := &part{name: table.Clean(name), start: now, last: now, before: before}
	r.parts[name], r.order = p, append(r.order, p)
	switch r.style {
	case Lines:
		size := ""
		if total > 0 {
			size = " (" + output.IEC(total) + ")"
			if before > 0 {
				size = " (" + output.IEC(before) + " of " + output.IEC(total) + " are there)"
			}
		}
		_, _ = fmt.Fprintf(r.w, "%s%s ...\n", p.name, size)
	case Bars:
		if r.bars == nil {
			r.bars = newBars(r.w)
		}
		// Made with total 0: mpb lets only such a bar be completed by SetTotal.
		// Close waits for the bars after the last part was added: there can be no error.
		p.bar, _ = r.bars.Add(0, filler(),
			mpb.PrependDecorators(decor.Name(p.name, decor.WCSyncSpaceR), decor.Any(func(s decor.Statistics) string {
				if s.Total <= 0 {
					return size(s.Current)
				}
				return size(s.Current) + " / " + size(s.Total)
			}, decor.WCSyncSpace)),
			mpb.AppendDecorators(decor.Any(percentage, decor.WCSyncSpace), decor.Any(func(s decor.Statistics) string {
				if text := rateAndLeft(s.Current-p.before, s.Total-s.Current, time.Since(p.start)); text != "" {
					return " " + text
				}
				return ""
			}, decor.WCSyncSpaceR)))
		p.bar.SetTotal(total, false)
		p.bar.SetCurrent(before)
	}
	return p
}

// filler draws the bar of a part of which the total is known, and nothing for others.
func filler() mpb.BarFiller {
	bar := mpb.BarStyle().Build()
	return mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
		if s.Total <= 0 {
			return nil
		}
		return bar.Fill(w, s)
	})
}

// percentage is how much of the total is done; "" while that is not known.
func percentage(s decor.Statistics) string {
	if s.Total <= 0 {
		return ""
	}
	return fmt.Sprintf("%d%%", min(100, int64(100*float64(s.Current)/float64(s.Total))))
}

// status says how far a part is.
func (p *part) status(now time.Time) string {
	text := output.IEC(p.done)
	if p.total > 0 {
		text += " of " + output.IEC(p.total)
	}
	if more := rateAndLeft(p.done-p.before, p.total-p.done, now.Sub(p.start)); more != "" {
		text += ", " + more
	}
	return text
}

// rateAndLeft is the rate of so many bytes in a time, and how long the rest takes at
// that; "" while nothing is known.
func rateAndLeft(bytes, rest int64, took time.Duration) string {
	if bytes <= 0 || took <= 0 {
		return ""
	}
	rate := float64(bytes) / took.Seconds()
	text := output.IEC(int64(rate)) + "/s"
	if rest > 0 {
		text += fmt.Sprintf(", %s left", time.Duration(float64(rest)/rate*float64(time.Second)).Round(time.Second))
	}
	return text
}

// size writes bytes for a bar.
func size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("% .1f", decor.SizeB1024(n))
}

// finish ends one part.
func (r *Reporter) finish(p *part) {
	p.finished = true
	switch {
	case r.style == Lines:
		_, _ = fmt.Fprintf(r.w, "%s: %s in %s\n", p.name, output.IEC(p.done), time.Since(p.start).Round(time.Millisecond))
	case p.bar != nil:
		p.bar.SetTotal(p.done, true)
	}
}

// Close ends the display: parts that are not done are shown done when ok, and
// left where they stand otherwise.
func (r *Reporter) Close(ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.order {
		switch {
		case p.finished:
		case ok:
			r.finish(p)
		case p.bar != nil:
			p.finished = true
			p.bar.Abort(false)
		default:
			p.finished = true
		}
	}
	if r.bars != nil {
		r.bars.Wait()
		r.bars = nil
	}
}
