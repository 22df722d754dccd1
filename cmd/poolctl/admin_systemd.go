package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"
)

// unitName is the file name of the systemd unit.
const unitName = "poolctl.service"

func adminSystemdCommand(e *env) *cli.Command {
	var dir string
	var install, force bool
	return &cli.Command{
		Name: "systemd", Usage: "print or install the systemd unit that attaches the pools at boot",
		Description: example("At boot it attaches all pools that were not detached by name. When the machine is shut down, or the unit is stopped,\n"+
			"it stops the running instances, cleanly where they let it, and detaches the pools.",
			"poolctl admin systemd", "poolctl admin systemd --install && systemctl daemon-reload && systemctl enable --now poolctl"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "install", Usage: "write " + unitName + " instead of printing it", Destination: &install},
			&cli.StringFlag{Name: "dir", Usage: "`DIR` to write it to", Value: "/etc/systemd/system", Destination: &dir, TakesFile: true},
			&cli.BoolFlag{Name: "force", Usage: "replace a unit of that name that says something else", Destination: &force},
		},
		Action: func(c *cli.Context) error {
			if err := checkCount(c, 0, 0); err != nil {
				return err
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
			unit := systemdUnit(program, root)
			if !install {
				return e.printf("%s", unit)
			}
			if err := installUnit(dir, unit, force); err != nil {
				return err
			}
			e.say("written: %s; now: systemctl daemon-reload && systemctl enable --now %s", filepath.Join(dir, unitName), strings.TrimSuffix(unitName, ".service"))
			return nil
		},
	}
}

// installUnit writes the unit, at once or not at all.
func installUnit(dir, unit string, force bool) error {
	path := filepath.Join(dir, unitName)
	old, err := os.ReadFile(path)
	switch {
	case err == nil && string(old) == unit:
		return nil
	case err == nil && !force:
		return fmt.Errorf("cannot install the unit: %s says something else already (--force replaces it)", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot install the unit: %w", err)
	}
	if err := renameio.WriteFile(path, []byte(unit), 0o644); err != nil {
		return fmt.Errorf("cannot install the unit: %w", err)
	}
	return nil
}

// systemdUnit is the unit for a program and a state directory.
//
// A pool that cannot be attached must not fail the unit: systemd runs ExecStop
// only of a unit that is active, and the other pools are to be detached in order
// as well. Instances are in cgroups of their own, so that the unit does not end
// them; stopping them first is what makes the pools free.
func systemdUnit(program, root string) string {
	run := quoteUnit(program, "$")
	if root != defaultRoot {
		run += " --root " + quoteUnit(root, "$")
	}
	return `# Made by: poolctl admin systemd
[Unit]
Description=Storage pools of poolctl
After=local-fs.target remote-fs.target systemd-modules-load.service
RequiresMountsFor=` + quoteUnit(root, "") + `
ConditionPathExists=` + strings.ReplaceAll(root, "%", "%%") + `/pools

[Service]
Type=oneshot
RemainAfterExit=yes
# A pool that cannot be attached is named in the journal, and by poolctl doctor.
ExecStart=-` + run + ` pool attach --all
ExecStop=-` + run + ` stop --all --timeout 60
ExecStop=-` + run + ` stop --all --force
ExecStop=` + run + ` pool detach --all
TimeoutStartSec=10min
TimeoutStopSec=5min

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
