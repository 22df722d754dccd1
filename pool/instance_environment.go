package pool

import (
	"context"
	"errors"
	"strings"

	"poolctl/runtime"
)

// environmentOf are the environment.* of a configuration.
func environmentOf(config map[string]string) map[string]string {
	env := map[string]string{}
	for k, v := range config {
		if key, ok := strings.CutPrefix(k, "environment."); ok {
			env[key] = v
		}
	}
	return env
}

// applyEnvironment gives commands that are executed later the environment of a
// configuration.
func applyEnvironment(_ context.Context, s *System, in *lockedInstance, _, to map[string]string) error {
	live, err := s.runningInstance(in.rec.Name)
	if errors.Is(err, runtime.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(live.SetEnv(environmentOf(to)), live.Close())
}
