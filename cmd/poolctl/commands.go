package main

import "github.com/urfave/cli/v2"

// The categories of the help text.
const (
	catInstances = "Instances"
	catSnapshots = "Snapshots and looks inside"
	catStorage   = "Pools, images and networks"
	catSetup     = "Set-up and help"
)

func instanceCommands(e *env) []*cli.Command {
	return []*cli.Command{
		createCommand(e), launchCommand(e), startCommand(e), stopCommand(e), restartCommand(e), pauseCommand(e), resumeCommand(e),
		rebuildCommand(e), copyCommand(e), renameCommand(e), moveCommand(e), deleteCommand(e), listCommand(e), infoCommand(e), topCommand(e), execCommand(e), shellCommand(e), consoleCommand(e),
		configCommand(e), profileCommands(e), publishCommand(e), fileCommands(e),
	}
}

func snapshotCommands(e *env) []*cli.Command {
	return []*cli.Command{
		group("snapshot", nil, catSnapshots, "manage snapshots; `snapshot NAME [SNAPSHOT]` creates one",
			snapshotCreateCommand(e), snapshotListCommand(e), snapshotRestoreCommand(e, "snapshot ", ""), snapshotDeleteCommand(e)),
		snapshotRestoreCommand(e, "", catSnapshots), diffCommand(e), mountCommand(e), umountCommand(e),
	}
}

func storageCommands(e *env) []*cli.Command {
	return []*cli.Command{
		group("pool", []string{"storage"}, catStorage, "manage storage pools",
			poolCreateCommand(e), poolListCommand(e), poolShowCommand(e), poolInfoCommand(e), poolAttachCommand(e),
			poolDetachCommand(e), poolDeleteCommand(e), poolMountCommand(e), poolUmountCommand(e), poolResizeCommand(e),
			poolTrimCommand(e), poolBalanceCommand(e), poolCompactCommand(e), poolCheckCommand(e), poolScrubCommand(e),
			poolInspectCommand(e), poolAdoptCommand(e), poolForgetCommand(e), poolUsageCommand(e),
			poolSetCommand(e), poolGetCommand(e), poolUnsetCommand(e), poolEditCommand(e),
			volumeCommands(e)),
		group("remote", nil, catStorage, "manage the servers that images come from",
			remoteAddCommand(e), remoteListCommand(e), remoteRenameCommand(e), remoteRemoveCommand(e), remoteSetURLCommand(e),
			remoteAddMirrorCommand(e), remoteRemoveMirrorCommand(e), remoteSwitchCommand(e), remoteGetDefaultCommand(e)),
		group("image", nil, catStorage, "manage images",
			imageListCommand(e), imagePullCommand(e), imageInfoCommand(e), imageShowCommand(e), imageDeleteCommand(e),
			imageImportCommand(e), imageExportCommand(e), imagePublishMirrorCommand(e),
			imageRefreshCommand(e), imageEditCommand(e), imageSetPropertyCommand(e), imageGetPropertyCommand(e), imageUnsetPropertyCommand(e),
			imageAliasCommands(e)),
		group("network", nil, catStorage, "manage networks",
			networkCreateCommand(e), networkListCommand(e), networkShowCommand(e), networkDeleteCommand(e)),
	}
}

func setupCommands(e *env) []*cli.Command {
	return []*cli.Command{
		group("admin", nil, catSetup, "set the host up", adminInitCommand(e), adminSystemdCommand(e), adminBootCommand(e), adminShutdownCommand(e), adminExpireCommand(e)),
		checkconfigCommand(e), doctorCommand(e), versionCommand(e), completionCommand(e), manCommand(e),
	}
}
