package restore

// Pass is asked before n bytes of content are written, by several goroutines at once.
// It may wait, and its error ends the writing. nil lets everything pass.
type Pass func(n int) error

// Before is p(n); nil for the nil Pass.
func (p Pass) Before(n int) error {
	if p == nil {
		return nil
	}
	return p(n)
}
