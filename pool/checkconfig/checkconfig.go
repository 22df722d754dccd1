package checkconfig

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"poolctl/runtime/cgroup"
)

// What a feature's status can be.
const (
	Enabled = "enabled"
	Missing = "missing"
	// Unknown: it cannot be tried, and no configuration was found.
	Unknown = "unknown"
)

// Feature is one thing looked for.
type Feature struct {
	Group string `json:"group" yaml:"group"`
	Name  string `json:"name" yaml:"name"`
	// Option is the kernel's configuration option; "" when there is no single one.
	Option string `json:"option,omitempty" yaml:"option,omitempty"`
	Status string `json:"status" yaml:"status"`
	// Required says that poolctl does not work without it.
	Required bool `json:"required" yaml:"required"`
	// By is how it is known: "probe" or "config".
	By string `json:"by,omitempty" yaml:"by,omitempty"`
	// Detail is the cause when it is missing, or something about it.
	Detail string `json:"detail,omitempty" yaml:"detail,omitempty"`
}

// Report is all that was found.
type Report struct {
	Kernel string `json:"kernel" yaml:"kernel"`
	// Config is the file that the configuration was read from; "" for none.
	Config   string    `json:"config" yaml:"config"`
	CgroupV1 []string  `json:"cgroup_v1_mounts" yaml:"cgroup_v1_mounts"`
	CgroupV2 []string  `json:"cgroup_v2_mounts" yaml:"cgroup_v2_mounts"`
	Features []Feature `json:"features" yaml:"features"`
	// Problem is why the configuration that was found is of no use.
	Problem string `json:"problem,omitempty" yaml:"problem,omitempty"`
}

// Lacking are the required features that are missing.
func (r Report) Lacking() []Feature {
	var out []Feature
	for _, f := range r.Features {
		if f.Required && f.Status == Missing {
			out = append(out, f)
		}
	}
	return out
}

// Run looks at everything. btrfs is a directory on a mounted btrfs of the
// caller's to try idmapped mounts with; "" when there is none.
func Run(ctx context.Context, btrfs string) (Report, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return Report{}, fmt.Errorf("cannot ask the kernel for its name: %w", err)
	}
	r := Report{Kernel: unix.ByteSliceToString(uts.Release[:]), CgroupV1: []string{}, CgroupV2: []string{}}
	kconfig, path, err := findKconfig("", r.Kernel)
	if r.Config = path; err != nil {
		r.Config, r.Problem = "", err.Error()
	}
	loaded, err := os.ReadFile("/proc/modules")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return r, err
	}
	layout, _ := cgroup.Detect() // that there is none is a feature missing
	for _, h := range layout {
		if h.Unified {
			r.CgroupV2 = append(r.CgroupV2, h.Mount)
		} else {
			r.CgroupV1 = append(r.CgroupV1, h.Mount)
		}
	}
	p := &prober{ctx: ctx, layout: layout, btrfs: btrfs}
	defer p.close()
	for _, c := range checks() {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		r.Features = append(r.Features, c.look(p, kconfig, modules(string(loaded))))
	}
	return r, nil
}

// check is how a feature is looked for.
type check struct {
	group, name string
	// option is that of the configuration; module is the kernel module that it makes
	// when it is m.
	option, module string
	required       bool
	// probe tries it: nil when it is there. errNotTried leaves it to the
	// configuration.
	probe func(*prober) error
}

// errNotTried says that a probe found nothing to try it with.
var errNotTried = errors.New("it cannot be tried")

func (c check) look(p *prober, k Kconfig, loaded map[string]bool) Feature {
	f := Feature{Group: c.group, Name: c.name, Required: c.required, Status: Unknown}
	if c.option != "" {
		f.Option = "CONFIG_" + c.option
	}
	if c.probe != nil {
		err := c.probe(p)
		switch {
		case err == nil:
			f.Status, f.By = Enabled, "probe"
			return f
		case !errors.Is(err, errNotTried):
			f.Status, f.By, f.Detail = Missing, "probe", err.Error()
			return f
		}
	}
	if k == nil || c.option == "" {
		return f
	}
	f.By = "config"
	switch value := k[c.option]; value {
	case "":
		f.Status = Missing
	case "m":
		f.Status, f.Detail = Enabled, "not loaded"
		if loaded[c.module] {
			f.Detail = "loaded"
		}
	default:
		f.Status = Enabled
	}
	return f
}
