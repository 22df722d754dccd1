package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// envFile is the file of a run directory that has the environment which commands
// get besides the default one; there is none when that is all.
const envFile = "environment.json"

func saveEnv(runDir string, env map[string]string) error {
	file := filepath.Join(runDir, envFile)
	if len(env) == 0 {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot save the instance's environment: %w", err)
		}
		return nil
	}
	data, err := json.Marshal(env)
	if err == nil {
		err = writeAtomic(file, data)
	}
	if err != nil {
		return fmt.Errorf("cannot save the instance's environment: %w", err)
	}
	return nil
}

func loadEnv(runDir string) (map[string]string, error) {
	data, err := os.ReadFile(filepath.Join(runDir, envFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	env := map[string]string{}
	if err == nil {
		err = json.Unmarshal(data, &env)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the instance's environment: %w", err)
	}
	return env, nil
}

// SetEnv changes what Spec.Env has given to the instance, for commands that are
// executed later.
func (i *Instance) SetEnv(env map[string]string) error {
	if err := validateEnv(env); err != nil {
		return err
	}
	return saveEnv(i.dir, env)
}
