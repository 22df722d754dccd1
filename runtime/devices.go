package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"poolctl/runtime/cgroup"
)

// devicesFile is the file of a run directory that lists what device nodes the
// instance may use now, over those that all have. A reboot takes them from there.
const devicesFile = "devices.json"

func saveDevices(runDir string, list []cgroup.Device) error {
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := writeAtomic(filepath.Join(runDir, devicesFile), data); err != nil {
		return fmt.Errorf("cannot save the instance's devices: %w", err)
	}
	return nil
}

func loadDevices(runDir string) ([]cgroup.Device, error) {
	data, err := os.ReadFile(filepath.Join(runDir, devicesFile))
	var list []cgroup.Device
	if err == nil {
		err = json.Unmarshal(data, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the instance's devices: %w", err)
	}
	return list, nil
}

// limitDevices keeps the instance from all devices but its own. The user
// namespace of one that is not privileged does so as well: no node can be made
// in it, and none that the image brought along can be opened.
func (s *supervisor) limitDevices(uid, gid int) error {
	extra, err := loadDevices(s.spec.RunDir)
	if err != nil {
		return err
	}
	disks, err := loadDisks(s.spec.RunDir)
	if err != nil {
		return err
	}
	err = s.group.LimitDevices(allowedDevices(extra, disks), uid, gid)
	if errors.Is(err, cgroup.ErrNoDeviceControl) && !s.spec.Privileged {
		return nil
	}
	return err
}

// SetDevices replaces, in the running instance, what device nodes it may use over
// those that all instances have (Spec.Devices) and those of its nodes. What is open stays open. The
// caller keeps others from doing the same at the same time.
func (i *Instance) SetDevices(list []cgroup.Device) error {
	before, err := loadDevices(i.dir)
	if err != nil {
		return err
	}
	disks, err := i.Disks()
	if err != nil {
		return err
	}
	if err := i.changeDevices(allowedDevices(before, disks), allowedDevices(list, disks)); err != nil {
		return err
	}
	return saveDevices(i.dir, list)
}
