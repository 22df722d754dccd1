package pool

import "poolctl/runtime"

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
