package pool

import (
	"path/filepath"

	"poolctl/runtime"
)

// exitFile is where it is kept how an instance's last run has ended.
func (s *System) exitFile(name string) string {
	return filepath.Join(s.dir.Logs(), name+".exit.json")
}

// addExit says of a stopped instance how it has ended. That it cannot be read is
// told and no error.
func (s *System) addExit(in *Instance) {
	if in.State != nil {
		return
	}
	exit, ok, err := runtime.LoadExit(s.exitFile(in.Name))
	if err != nil {
		s.notice(err.Error())
	}
	if ok {
		in.LastExit = &exit
	}
}
