package pool

import (
	"errors"
	"strconv"
)

// bootKeys say what becomes of an instance when the machine starts and stops.
func bootKeys() []instanceKey {
	return []instanceKey{
		{name: bootKey, check: checkBool},
		{name: bootPriorityKey, check: checkBootPriority},
		{name: bootDelayKey, check: checkSeconds},
		{name: stopPriorityKey, check: checkBootPriority},
		{name: stopTimeoutKey, check: checkSeconds},
		{name: stopActionKey, check: checkStopAction},
	}
}

// The keys, as Incus has them.
const (
	bootKey         = "boot.autostart"          // unset: what ran when the machine stopped
	bootPriorityKey = "boot.autostart.priority" // the highest comes first
	bootDelayKey    = "boot.autostart.delay"    // seconds to wait after its start
	stopPriorityKey = "boot.stop.priority"      // the highest comes first
	stopTimeoutKey  = "boot.host_shutdown_timeout"
	stopActionKey   = "boot.host_shutdown_action"
)

// forceStop is the value of stopActionKey for an instance that is ended at once.
const forceStop = "force-stop"

func checkBootPriority(v string) error {
	if _, err := strconv.ParseInt(v, 10, 32); err != nil {
		return errors.New("it is not a number")
	}
	return nil
}

// maxSeconds bounds a delay or timeout.
const maxSeconds = 24 * 60 * 60

func checkSeconds(v string) error {
	if n, err := strconv.ParseInt(v, 10, 32); err != nil || n < 0 || n > maxSeconds {
		return errors.New("it is not a number of seconds, at most a day")
	}
	return nil
}

func checkStopAction(v string) error {
	switch v {
	case "stop", forceStop:
		return nil
	case "stateful-stop":
		return errors.New("it is for virtual machines")
	}
	return errors.New("it is not one of stop, force-stop")
}

// numberOf is the value of a key that was checked; what is not set, or was set by
// another program to what is no number, is byDefault.
func numberOf(config map[string]string, key string, byDefault int) int {
	n, err := strconv.Atoi(config[key])
	if err != nil {
		return byDefault
	}
	return n
}
