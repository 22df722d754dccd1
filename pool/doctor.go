package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"poolctl/pool/journal"
	"poolctl/pool/tree"
	"poolctl/runtime"
)

// Severities of findings.
const (
	// SeverityError: something does not work, or data is in danger.
	SeverityError = "error"
	// SeverityWarning: something will not work, or is not as it was left.
	SeverityWarning = "warning"
	// SeverityNotice: good to know; nothing has to be done.
	SeverityNotice = "notice"
)

// Finding is one thing that Doctor has found.
type Finding struct {
	Severity string `json:"severity" yaml:"severity"`
	Object   string `json:"object" yaml:"object"` // "pool default", "network br0", "host"
	Problem  string `json:"problem" yaml:"problem"`
	Remedy   string `json:"remedy" yaml:"remedy"` // what the user can do
	// Done is what was done about it; "" when nothing was.
	Done string `json:"done,omitempty" yaml:"done,omitempty"`

	fix func(ctx context.Context) error
	// does says in the past tense what fix does.
	does string
}

// Remains says whether the finding is a problem that is still there.
func (f Finding) Remains() bool { return f.Severity != SeverityNotice && f.Done == "" }

// DoctorOptions are the arguments of Doctor.
type DoctorOptions struct {
	// Fix repairs what can be repaired without a decision of the user's.
	Fix bool
}

// doctor collects findings.
type doctor struct {
	*System
	found []Finding
	// running are the running instances.
	running []string
}

func (d *doctor) add(f Finding) { d.found = append(d.found, f) }

// failed notes that a check itself could not be made.
func (d *doctor) failed(object string, err error) {
	d.add(Finding{Severity: SeverityError, Object: object, Problem: err.Error(), Remedy: hintOf(err)})
}

// hintOf is the hint of an error; "" when it has none.
func hintOf(err error) string {
	var h *hinted
	var other interface{ Hint() string }
	switch {
	case errors.As(err, &h):
		return h.hint
	case errors.As(err, &other):
		return other.Hint()
	}
	return ""
}

// Doctor looks at the host and at everything of the state directory: what the
// kernel and the programs can do, the pools and what they lie on, networks, and
// what is left over of killed commands. What Open cleans up by itself is not
// there any more. It changes nothing unless o.Fix.
func (s *System) Doctor(ctx context.Context, o DoctorOptions) ([]Finding, error) {
	d := &doctor{System: s, found: []Finding{}}
	var err error
	if d.running, err = s.liveNames(); err != nil {
		return nil, err
	}
	d.host()
	d.unfinished(ctx)
	pools, err := s.dir.ListPools()
	if err != nil {
		return nil, err
	}
	for _, name := range pools {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d.pool(ctx, name)
	}
	d.looksInside(ctx)
	networks, err := s.dir.ListNetworks()
	if err != nil {
		return nil, err
	}
	for _, name := range networks {
		d.network(name)
	}
	d.strayNetworks(networks)
	d.nicParents(ctx, networks)
	d.instanceRules()
	d.strayRules()
	d.strayDisks(pools)
	d.strayMountPoints(pools)
	d.keptDownloads()
	d.strayLogs(ctx, pools)
	if o.Fix {
		for i := range d.found {
			d.found[i].repair(ctx)
		}
	}
	return d.found, ctx.Err()
}

// repair does what can be done about a finding.
func (f *Finding) repair(ctx context.Context) {
	if f.fix == nil {
		return
	}
	if err := f.fix(ctx); err != nil {
		f.Problem += "; it could not be repaired: " + err.Error()
		return
	}
	f.Done = f.does
}

// unfinished tells of what killed commands left and nobody could finish or undo:
// what can be was dealt with when the state directory was opened.
func (d *doctor) unfinished(ctx context.Context) {
	for _, err := range flatten(journal.Recover(ctx, d.journalDir(), d.journalHandlers())) {
		d.add(Finding{
			Severity: SeverityError, Object: "journal", Problem: "an unfinished operation cannot be undone: " + err.Error(),
			Remedy: "see to what it names; each command tries again",
		})
	}
	for _, err := range flatten(runtime.Sweep(ctx, d.instancesRunDir(), d.cgroups, Hooks())) {
		d.add(Finding{
			Severity: SeverityError, Object: "instances", Problem: err.Error(),
			Remedy: "see to what it names; each command tries again",
		})
	}
}

// flatten lists the errors that errors.Join put together.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range joined.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []error{err}
}

// looksInside lists what is mounted of instances, snapshots and images.
func (d *doctor) looksInside(ctx context.Context) {
	looks, err := d.looks()
	if err != nil {
		d.failed("mounts", err)
		return
	}
	for _, n := range d.offlineNotes() {
		d.add(Finding{
			Severity: SeverityNotice, Object: "instance " + n.Ref, Problem: "a command runs in it offline (exec --offline)",
			Remedy: "it cannot be deleted or renamed, nor an instance started, before the command has ended",
		})
	}
	for _, l := range looks {
		d.add(Finding{
			Severity: SeverityNotice, Object: d.lookObject(ctx, l.ref), Problem: "it is mounted at " + l.dir,
			Remedy: fmt.Sprintf("poolctl umount %s, when you are done", l.dir),
		})
	}
}

// lookObject is what a look inside shows: an image, by its alias if it has one, or an
// instance.
func (d *doctor) lookObject(ctx context.Context, ref string) string {
	if tree.ValidateFingerprint(ref) != nil {
		return "instance " + ref
	}
	name := ref[:12]
	if all, err := d.Images(ctx, ""); err == nil {
		if i := slices.IndexFunc(all, func(im Image) bool { return im.Fingerprint == ref }); i >= 0 {
			name = nameOf(all[i])
		}
	}
	return "image " + name
}
