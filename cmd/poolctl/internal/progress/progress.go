package progress

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/table"
)

// Style is how a Reporter shows progress.
type Style int

const (
	// None shows nothing.
	None Style = iota
	// Lines writes a line when a part starts and one when it is done.
	Lines
	// Bars draws bars; the writer has to be a terminal.
	Bars
)

// refresh is the shortest time between two updates of a bar.
const refresh = 100 * time.Millisecond

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
	p := r.part(name, total)
	if p.finished {
		return
	}
	now := time.Now()
	p.done, p.total = done, max(total, 0)
	complete := p.total > 0 && p.done >= p.total
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

// part finds the part, or starts it.
func (r *Reporter) part(name string, total int64) *part {
	if p := r.parts[name]; p != nil {
		return p
	}
	p := &part{name: table.Clean(name), start: time.Now()}
	r.parts[name], r.order = p, append(r.order, p)
	switch r.style {
	case Lines:
		size := ""
		if total > 0 {
			size = " (" + output.IEC(total) + ")"
		}
		_, _ = fmt.Fprintf(r.w, "%s%s ...\n", p.name, size)
	case Bars:
		if r.bars == nil {
			r.bars = mpb.New(mpb.WithOutput(r.w), mpb.WithWidth(48), mpb.WithRefreshRate(refresh), mpb.WithAutoRefresh())
		}
		// Made with total 0: mpb lets only such a bar be completed by SetTotal.
		p.bar = r.bars.AddBar(0,
			mpb.PrependDecorators(decor.Name(p.name, decor.WCSyncSpaceR), decor.Counters(decor.SizeB1024(0), "% .1f / % .1f", decor.WCSyncSpace)),
			mpb.AppendDecorators(
				decor.NewPercentage("%d", decor.WCSyncSpace), decor.AverageSpeed(decor.SizeB1024(0), "% .1f", decor.WCSyncSpace),
				decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)),
		)
	}
	return p
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
