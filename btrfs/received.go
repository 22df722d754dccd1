package btrfs

import (
	"errors"
	"fmt"
	"os"
)

// receivedArgs is struct btrfs_ioctl_received_subvol_args.
type receivedArgs struct {
	UUID               [16]byte
	STransID, RTransID uint64
	STime, RTime       timespec
	Flags              uint64
	_                  [16]uint64
}

// StreamUUID is how send streams name the subvolume: by the UUID of what it was
// received from, or else its own.
func (s Subvolume) StreamUUID() string {
	if s.ReceivedUUID != "" {
		return s.ReceivedUUID
	}
	return s.UUID
}

// CopyReceived gives the writable subvolume to the received UUID of the subvolume
// from, which has the same content, so that streams that build on that are found to
// build on it (BTRFS_IOC_SET_RECEIVED_SUBVOL). The kernel takes it away from one
// that is made writable. From one that was not received it takes nothing.
func CopyReceived(from, to string) error {
	if err := copyReceived(from, to); err != nil {
		return fmt.Errorf("cannot give %s the received UUID of %s: %w", to, from, err)
	}
	return nil
}

func copyReceived(from, to string) error {
	source, err := openSubvolume(from)
	if err != nil {
		return err
	}
	var a subvolInfoArgs
	err = ioctl(int(source.Fd()), iocGetSubvolInfo, &a)
	if err = errors.Join(os.NewSyscallError("BTRFS_IOC_GET_SUBVOL_INFO", err), source.Close()); err != nil || a.ReceivedUUID == [16]byte{} {
		return err
	}
	target, err := openSubvolume(to)
	if err != nil {
		return err
	}
	args := receivedArgs{UUID: a.ReceivedUUID, STransID: a.STransID, STime: a.STime}
	err = os.NewSyscallError("BTRFS_IOC_SET_RECEIVED_SUBVOL", ioctl(int(target.Fd()), iocSetReceived, &args))
	return errors.Join(err, target.Close())
}
