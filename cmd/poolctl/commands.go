package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The categories of the help text.
const (
	catInstances = "Instances"
	catSnapshots = "Snapshots and looks inside"
	catStorage   = "Pools, images and networks"
	catSetup     = "Set-up and help"
)

// lazyCommand is a command below the program itself, which is made when it is
// needed: making all of them takes longer than most commands do.
type lazyCommand struct {
	names string // its name and its aliases, separated by spaces
	make  func(e *env) *cli.Command
}

// topCommands are all of them, in the order of the help text.
func topCommands() []lazyCommand {
	return []lazyCommand{
		{"create init", createCommand},
		{"launch", launchCommand},
		{"start", startCommand},
		{"stop", stopCommand},
		{"restart", restartCommand},
		{"pause", pauseCommand},
		{"resume", resumeCommand},
		{"rebuild", rebuildCommand},
		{"copy cp", copyCommand},
		{"rename", renameCommand},
		{"move mv", moveCommand},
		{"delete rm", deleteCommand},
		{"list ls", listCommand},
		{"info", infoCommand},
		{"top", topCommand},
		{"exec", execCommand},
		{"shell", shellCommand},
		{"console", consoleCommand},
		{"config", configCommand},
		{"profile", profileCommands},
		{"publish", publishCommand},
		{"export", exportCommand},
		{"import", importCommand},
		{"send", sendCommand},
		{"receive", receiveCommand},
		{"file", fileCommands},
		{"snapshot", snapshotCommands},
		{"restore", restoreCommand},
		{"diff", diffCommand},
		{"undelete", undeleteCommand},
		{"trash", trashCommands},
		{"mount", mountCommand},
		{"umount unmount", umountCommand},
		{"pool storage", poolCommands},
		{"remote", remoteCommands},
		{"image", imageCommands},
		{"network", networkCommands},
		{"admin", adminCommands},
		{"checkconfig", checkconfigCommand},
		{"doctor", doctorCommand},
		{"version", versionCommand},
		{"completion", completionCommand},
		{"man", manCommand},
	}
}

// allCommands makes all commands.
func allCommands(e *env) []*cli.Command {
	var made []*cli.Command
	for _, c := range topCommands() {
		made = append(made, c.make(e))
	}
	return made
}

// namedCommands makes those whose names are among the words.
func namedCommands(e *env, words []string) []*cli.Command {
	var made []*cli.Command
	for _, c := range topCommands() {
		if slices.ContainsFunc(strings.Fields(c.names), func(name string) bool { return slices.Contains(words, name) }) {
			made = append(made, c.make(e))
		}
	}
	return made
}

func snapshotCommands(e *env) *cli.Command {
	return group("snapshot", nil, catSnapshots, "manage snapshots; `snapshot NAME [SNAPSHOT]` creates one",
		snapshotCreateCommand(e), snapshotListCommand(e), snapshotShowCommand(e), snapshotRenameCommand(e), snapshotRestoreCommand(e, "snapshot ", ""), snapshotDeleteCommand(e))
}

func restoreCommand(e *env) *cli.Command { return snapshotRestoreCommand(e, "", catSnapshots) }

func trashCommands(e *env) *cli.Command {
	return group("trash", nil, catSnapshots, "see what was deleted, and delete it for good", trashListCommand(e), trashEmptyCommand(e))
}

func poolCommands(e *env) *cli.Command {
	return group("pool", []string{"storage"}, catStorage, "manage storage pools",
		poolCreateCommand(e), poolListCommand(e), poolShowCommand(e), poolInfoCommand(e), poolAttachCommand(e),
		poolDetachCommand(e), poolDeleteCommand(e), poolMountCommand(e), poolUmountCommand(e), poolResizeCommand(e),
		poolTrimCommand(e), poolBalanceCommand(e), poolCompactCommand(e), poolCheckCommand(e), poolScrubCommand(e),
		poolInspectCommand(e), poolAdoptCommand(e), poolForgetCommand(e), poolUsageCommand(e),
		poolSetCommand(e), poolGetCommand(e), poolUnsetCommand(e), poolEditCommand(e),
		volumeCommands(e))
}

func remoteCommands(e *env) *cli.Command {
	return group("remote", nil, catStorage, "manage the servers that images come from",
		remoteAddCommand(e), remoteListCommand(e), remoteRenameCommand(e), remoteRemoveCommand(e), remoteSetURLCommand(e),
		remoteAddMirrorCommand(e), remoteRemoveMirrorCommand(e), remoteSwitchCommand(e), remoteGetDefaultCommand(e))
}

func imageCommands(e *env) *cli.Command {
	return group("image", nil, catStorage, "manage images",
		imageListCommand(e), imagePullCommand(e), imageInfoCommand(e), imageShowCommand(e), imageDeleteCommand(e),
		imageImportCommand(e), imageExportCommand(e), imagePublishMirrorCommand(e),
		imageRefreshCommand(e), imageEditCommand(e), imageSetPropertyCommand(e), imageGetPropertyCommand(e), imageUnsetPropertyCommand(e),
		imageAliasCommands(e))
}

func networkCommands(e *env) *cli.Command {
	return group("network", nil, catStorage, "manage networks",
		networkCreateCommand(e), networkListCommand(e), networkShowCommand(e), networkInfoCommand(e), networkSetCommand(e), networkGetCommand(e),
		networkUnsetCommand(e), networkEditCommand(e), networkRenameCommand(e), networkDeleteCommand(e),
		networkAttachCommand(e), networkAttachProfileCommand(e), networkDetachCommand(e), networkDetachProfileCommand(e), networkListLeasesCommand(e), networkForwardCommands(e))
}

func adminCommands(e *env) *cli.Command {
	return group("admin", nil, catSetup, "set the host up", adminInitCommand(e), adminSystemdCommand(e), adminBootCommand(e), adminShutdownCommand(e), adminExpireCommand(e), adminSnapshotsCommand(e))
}
