package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/table"
	"poolctl/pool"
)

const poolUsageHelp = `At once: the pool's file on the host (apparent size, and what the host really gave it), what btrfs has allocated and
used, and for each image, instance, snapshot and custom volume, with the subvolumes in it:
  OWNED       what was written in it and still exists, whoever shares it; in pools with simple quotas
  REFERENCED  everything that it has, also what it shares; in pools with full qgroups, and with --exact
  EXCLUSIVE   what only it has: deleting just that frees it

With --exact these come from the back references of every extent, on any pool, which takes longer, and also:
  FREES       what deleting it frees: an instance or volume goes with its snapshots
  FILES, FILES EXCLUSIVE, FILES SET SHARED: the sums of "btrfs filesystem du -s": bytes in files, uncompressed
REFERENCED, EXCLUSIVE and FREES are what full qgroups count: whole extents as they are on disk, and metadata; with DUP or
RAID each copy takes that on the device. Deleting frees the checksums and references of the data besides.

With OBJECTs only these are shown, with their snapshots, and with --exact what deleting them together frees:
INSTANCE, INSTANCE/SNAPSHOT, an image's alias or fingerprint (image/ALIAS when an instance is called so, too),
volume/NAME, volume/NAME/SNAPSHOT.

Sizes in csv, json and yaml are in bytes; csv has the rows of the objects.`

func poolUsageCommand(e *env) *cli.Command {
	var format string
	var exact bool
	return &cli.Command{
		Name: "usage", Usage: "show what takes a pool's space, and what deleting would free", ArgsUsage: "NAME [OBJECT...]",
		Description: example(poolUsageHelp, "poolctl pool usage default", "poolctl pool usage default c1 c2/snap0 --exact"),
		Flags: []cli.Flag{
			formatFlag(&format, output.Table),
			&cli.BoolFlag{Name: "exact", Usage: "find out which extents each shares with whom", Destination: &exact},
		},
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			update, done := e.progress()
			usage, err := s.PoolUsage(ctx, args[0], pool.UsageOptions{Objects: args[1:], Exact: exact, Progress: update})
			done(err == nil)
			if err != nil {
				return err
			}
			return e.writeUsage(format, exact, usage)
		}),
	}
}

// writeUsage writes the totals and the objects, in csv only these.
func (e *env) writeUsage(format string, exact bool, u pool.PoolUsage) error {
	if base := output.Base(format); base == output.JSON || base == output.YAML {
		return output.Value(e.stdout, format, u)
	}
	written := output.IEC
	if output.Base(format) == output.CSV {
		written = func(n int64) string { return fmt.Sprint(n) }
	} else if err := e.printf("%s\n", table.Clean(usageTotals(u))); err != nil {
		return err
	}
	if err := usageList(u, exact, written).Write(e.stdout, format); err != nil || output.Base(format) == output.CSV {
		return err
	}
	if u.Together != nil {
		return e.printf("Deleting these together frees %s (data %s, metadata %s)\n", size(u.Together.Total), size(u.Together.Data), size(u.Together.Metadata))
	}
	return nil
}

// usageTotals is what the pool takes, in lines.
func usageTotals(u pool.PoolUsage) string {
	var b strings.Builder
	line := func(key, format string, a ...any) {
		fmt.Fprintf(&b, "%-13s "+format+"\n", append([]any{key + ":"}, a...)...)
	}
	switch {
	case u.Device != nil:
		line("Device", "%s", u.Device.Path)
	case u.Directory != nil:
		line("Directory", "%s", u.Directory.Path)
	case u.File != nil:
		line("File", "%s", u.File.Path)
		line("On the host", "%s allocated of %s", output.IEC(u.File.Allocated), output.IEC(u.File.Size))
	}
	line("Data", "%s used of %s allocated (%s)", size(u.Usage.Data.Used), size(u.Usage.Data.Allocated), u.Usage.Data.Profile)
	line("Metadata", "%s used of %s allocated (%s)", size(u.Usage.Metadata.Used), size(u.Usage.Metadata.Allocated), u.Usage.Metadata.Profile)
	line("System", "%s used of %s allocated (%s)", size(u.Usage.System.Used), size(u.Usage.System.Allocated), u.Usage.System.Profile)
	line("Unallocated", "%s of %s", size(u.Usage.Unallocated), size(u.Usage.Size))
	line("Free", "%s (estimated)", size(u.Usage.Free))
	if u.Pending > 0 {
		line("Not counted", "%s that are still being written", size(u.Pending))
	}
	if u.Deleting > 0 {
		line("Deleting", "%d subvolumes that are still being freed", u.Deleting)
	}
	return b.String()
}

// usageList has a row for each object.
func usageList(u pool.PoolUsage, exact bool, written func(int64) string) output.List {
	l := output.List{Header: []string{"TYPE", "NAME", "OWNED", "REFERENCED", "EXCLUSIVE"}}
	if exact {
		l.Header = append(l.Header, "FREES", "FILES", "FILES EXCLUSIVE", "FILES SET SHARED")
	}
	known := func(n *uint64) string {
		if n == nil {
			return "-"
		}
		return written(int64(*n)) //nolint:gosec // no pool has 8 EiB
	}
	for _, o := range naturally(u.Objects) {
		row := []string{o.Type, usageName(o), known(o.Owned), known(o.Referenced), known(o.Exclusive)}
		if o.Exact != nil {
			frees := (*uint64)(nil)
			if o.Exact.Frees != nil {
				frees = &o.Exact.Frees.Total
			}
			row = append(row, known(frees), known(&o.Exact.Files.Total), known(&o.Exact.Files.Exclusive), known(&o.Exact.Files.SetShared))
		}
		l.Rows = append(l.Rows, row)
	}
	return l
}

// naturally sorts volumes by the numbers in their names, c2 before c10; types and
// snapshots stay where they are.
func naturally(objects []pool.ObjectUsage) []pool.ObjectUsage {
	sorted := slices.Clone(objects)
	volume := func(o pool.ObjectUsage) (kind, name string) {
		name, _, _ = strings.Cut(o.Name, "/")
		return strings.TrimSuffix(o.Type, " (snapshot)"), name
	}
	slices.SortStableFunc(sorted, func(a, b pool.ObjectUsage) int {
		kindA, nameA := volume(a)
		kindB, nameB := volume(b)
		if kindA != kindB {
			order := func(kind string) int {
				return slices.IndexFunc(objects, func(o pool.ObjectUsage) bool { k, _ := volume(o); return k == kind })
			}
			return order(kindA) - order(kindB)
		}
		return table.CompareNatural(nameA, nameB)
	})
	return sorted
}

// usageName is what people call an object.
func usageName(o pool.ObjectUsage) string {
	if o.Type != "image" {
		return o.Name
	}
	short := o.Name[:min(len(o.Name), 12)]
	if len(o.Aliases) > 0 {
		return short + " (" + strings.Join(o.Aliases, ", ") + ")"
	}
	return short
}

// size is a size for people.
func size(n uint64) string { return output.IEC(int64(n)) } //nolint:gosec // no pool has 8 EiB
