package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"
)

// unitName is the file name of the systemd unit that attaches the pools, and
// imagesUnit and imagesTimer those of what looks after the images, snapshotsUnit and
// snapshotsTimer those of what makes snapshots.
const (
	unitName    = "poolctl.service"
	imagesUnit  = "poolctl-images.service"
	imagesTimer = "poolctl-images.timer"

	snapshotsUnit  = "poolctl-snapshots.service"
	snapshotsTimer = "poolctl-snapshots.timer"
)

func adminSystemdCommand(e *env) *cli.Command {
	var dir string
	var install, force bool
	return &cli.Command{
		Name: "systemd", Usage: "print or install the systemd units that attach the pools at boot, look after images and make snapshots", ArgsUsage: "[UNIT]",
		Description: example(unitName+", which is printed unless another one is named, attaches at boot all pools that were not detached by name,\n"+
			"and starts the instances that are to run (admin boot). When the machine is shut down, or the unit is stopped, it stops\n"+
			"them, cleanly where they let it (admin shutdown), and detaches the pools. "+imagesTimer+" runs "+imagesUnit+" every six hours: it brings images up to date that are to be\n"+
			"(image refresh --all --auto), and deletes cached images that are not used, and what was long in the trash (admin expire). "+snapshotsTimer+" runs\n"+
			snapshotsUnit+" every minute: it makes the snapshots that are due and deletes those that are kept no longer (admin snapshots).",
			"poolctl admin systemd", "poolctl admin systemd "+imagesTimer,
			"poolctl admin systemd --install && systemctl daemon-reload && systemctl enable --now poolctl.service "+imagesTimer+" "+snapshotsTimer),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "install", Usage: "write all of them instead of printing one", Destination: &install},
			&cli.StringFlag{Name: "dir", Usage: "`DIR` to write them to", Value: "/etc/systemd/system", Destination: &dir, TakesFile: true},
			&cli.BoolFlag{Name: "force", Usage: "replace units of those names that say something else", Destination: &force},
		},
		Action: func(c *cli.Context) error {
			if err := checkCount(c, 0, 1); err != nil {
				return err
			}
			if install && c.NArg() > 0 {
				return usagef(c, "--install writes all units: none can be named")
			}
			if !install && (force || c.IsSet("dir")) {
				return usagef(c, "--dir and --force are for --install")
			}
			program, err := os.Executable()
			if err != nil {
				return fmt.Errorf("cannot write the unit: %w", err)
			}
			root, err := filepath.Abs(e.stateDir())
			if err != nil {
				return fmt.Errorf("cannot write the unit: %w", err)
			}
			units := systemdUnits(program, root)
			if !install {
				name := unitName
				if c.NArg() > 0 {
					name = c.Args().First()
				}
				unit, ok := units[name]
				if !ok {
					return usagef(c, "unknown unit %q: there are %s", name, strings.Join(slices.Sorted(maps.Keys(units)), ", "))
				}
				return e.printf("%s", unit)
			}
			if err := installUnits(dir, units, force); err != nil {
				return err
			}
			e.say("written to %s; now: systemctl daemon-reload && systemctl enable --now %s %s %s", dir, unitName, imagesTimer, snapshotsTimer)
			return nil
		},
	}
}

// installUnits writes the units: all of them, or none where one says something
// else.
func installUnits(dir string, units map[string]string, force bool) error {
	for name, unit := range units {
		path := filepath.Join(dir, name)
		old, err := os.ReadFile(path)
		switch {
		case err == nil && string(old) != unit && !force:
			return fmt.Errorf("cannot install the unit: %s says something else already (--force replaces it)", path)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("cannot install the unit: %w", err)
		}
	}
	for name, unit := range units {
		if err := renameio.WriteFile(filepath.Join(dir, name), []byte(unit), 0o644); err != nil {
			return fmt.Errorf("cannot install the unit: %w", err)
		}
	}
	return nil
}

// runUnit is the beginning of a command line in a unit file.
func runUnit(program, root string) string {
	run := quoteUnit(program, "$")
	if root != defaultRoot {
		run += " --root " + quoteUnit(root, "$")
	}
	return run
}

// systemdUnits are all units by their names.
func systemdUnits(program, root string) map[string]string {
	return map[string]string{
		unitName: systemdUnit(program, root), imagesUnit: systemdImagesUnit(program, root), imagesTimer: systemdImagesTimer,
		snapshotsUnit: systemdSnapshotsUnit(program, root), snapshotsTimer: systemdSnapshotsTimer,
	}
}

// systemdImagesUnit is the unit that the timer runs. A server that cannot be
// reached is no reason to keep what is not used.
func systemdImagesUnit(program, root string) string {
	run := runUnit(program, root)
	return `# Made by: poolctl admin systemd
[Unit]
Description=Images of poolctl: new versions, and what is not used any more
Wants=network-online.target
After=network-online.target ` + unitName + `
RequiresMountsFor=` + quoteUnit(root, "") + `
ConditionPathExists=` + strings.ReplaceAll(root, "%", "%%") + `/pools

[Service]
Type=oneshot
ExecStart=-` + run + ` image refresh --all --auto
ExecStart=` + run + ` admin expire
IOSchedulingClass=idle
`
}

// systemdImagesTimer runs it as often as an Incus server looks for new versions.
const systemdImagesTimer = `# Made by: poolctl admin systemd
[Unit]
Description=Images of poolctl: new versions, and what is not used any more

[Timer]
OnBootSec=15min
OnUnitActiveSec=6h
RandomizedDelaySec=30min

[Install]
WantedBy=timers.target
`

// systemdSnapshotsUnit is the unit that makes snapshots.
func systemdSnapshotsUnit(program, root string) string {
	return `# Made by: poolctl admin systemd
[Unit]
Description=Snapshots of poolctl that are due, and those that are kept no longer
After=` + unitName + `
RequiresMountsFor=` + quoteUnit(root, "") + `
ConditionPathExists=` + strings.ReplaceAll(root, "%", "%%") + `/pools

[Service]
Type=oneshot
ExecStart=` + runUnit(program, root) + ` admin snapshots
`
}

// systemdSnapshotsTimer runs it as often as a schedule can say.
const systemdSnapshotsTimer = `# Made by: poolctl admin systemd
[Unit]
Description=Snapshots of poolctl that are due, and those that are kept no longer

[Timer]
OnCalendar=minutely
AccuracySec=1s

[Install]
WantedBy=timers.target
`

// systemdUnit is the unit for a program and a state directory.
//
// A pool that cannot be attached must not fail the unit: systemd runs ExecStop
// only of a unit that is active, and the other pools are to be detached in order
// as well. Instances are in cgroups of their own, so that the unit does not end
// them; stopping them first is what makes the pools free.
func systemdUnit(program, root string) string {
	run := runUnit(program, root)
	return `# Made by: poolctl admin systemd
[Unit]
Description=Storage pools of poolctl
After=local-fs.target remote-fs.target systemd-modules-load.service
RequiresMountsFor=` + quoteUnit(root, "") + `
ConditionPathExists=` + strings.ReplaceAll(root, "%", "%%") + `/pools

[Service]
Type=oneshot
RemainAfterExit=yes
# A pool that cannot be attached, or an instance that cannot be started, is named in the journal, and by poolctl doctor.
ExecStart=-` + run + ` pool attach --all
ExecStart=-` + run + ` admin boot
ExecStop=-` + run + ` admin shutdown
ExecStop=` + run + ` pool detach --all
TimeoutStartSec=infinity
TimeoutStopSec=15min

[Install]
WantedBy=multi-user.target
`
}

// quoteUnit writes one word of a command line, or a path of a list, for a unit
// file (systemd.syntax(7)). A percent sign is doubled everywhere, what is in
// doubled only where it means something as well, as $ does in commands
// (systemd.service(5)).
func quoteUnit(word, doubled string) string {
	pairs := []string{"%", "%%", `\`, `\\`, `"`, `\"`}
	for _, c := range doubled {
		pairs = append(pairs, string(c), string(c)+string(c))
	}
	quoted := strings.NewReplacer(pairs...).Replace(word)
	if quoted != word || strings.ContainsAny(word, " \t'") {
		return `"` + quoted + `"`
	}
	return word
}
