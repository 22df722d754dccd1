package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

func volumeCommands(e *env) *cli.Command {
	return group("volume", nil, "", "manage custom volumes, and list all volumes of a pool",
		volumeCreateCommand(e), volumeListCommand(e), volumeShowCommand(e), volumeInfoCommand(e), volumeGetCommand(e), volumeSetCommand(e),
		volumeUnsetCommand(e), volumeEditCommand(e), volumeDeleteCommand(e), volumeRenameCommand(e), volumeCopyCommand(e), volumeMoveCommand(e),
		volumeAttachCommand(e), volumeAttachProfileCommand(e), volumeDetachCommand(e), volumeDetachProfileCommand(e),
		volumeRestoreCommand(e, "pool volume restore"), volumeExportCommand(e), volumeImportCommand(e),
		group("snapshot", nil, "", "manage snapshots of custom volumes; `pool volume snapshot POOL VOLUME [SNAPSHOT]` creates one",
			volumeSnapshotCreateCommand(e), volumeSnapshotListCommand(e), volumeSnapshotShowCommand(e), volumeSnapshotRenameCommand(e),
			volumeRestoreCommand(e, "pool volume snapshot restore"), volumeSnapshotDeleteCommand(e)))
}

// volumeSnapshotRef reads [custom/]VOLUME[/SNAPSHOT].
func volumeSnapshotRef(ref string) (volume, snapshot string) {
	volume, snapshot, _ = strings.Cut(strings.TrimPrefix(ref, "custom/"), "/")
	return volume, snapshot
}

// pooledVolume reads POOL/VOLUME[/SNAPSHOT].
func pooledVolume(command, ref string) (pool, volume, snapshot string, err error) {
	pool, rest, found := strings.Cut(ref, "/")
	volume, snapshot = volumeSnapshotRef(rest)
	if !found || pool == "" || volume == "" || strings.HasSuffix(ref, "/") {
		return "", "", "", badUsage(command, "%q is not of the form POOL/VOLUME", ref)
	}
	return pool, volume, snapshot, nil
}
