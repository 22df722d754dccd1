package pool

import (
	"context"
	"time"

	"poolctl/pool/state"
)

// waitNotice is after how long the user is told that another command is waited for.
const waitNotice = time.Second

// lockImage takes the lock of an image, and says so when another command has it for
// long: it may be downloading it.
func (s *System) lockImage(ctx context.Context, fingerprint string) (state.Unlock, error) {
	waiting := time.AfterFunc(waitNotice, func() {
		s.noticef("waiting for another command, which is at work on image %.12s", fingerprint)
	})
	defer waiting.Stop()
	return s.dir.LockImage(ctx, fingerprint)
}
