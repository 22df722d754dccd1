package tarball

import "poolctl/images/internal/restore"

// What the unpackers of all formats share.
type (
	Limits     = restore.Limits
	LimitError = restore.LimitError
	Budget     = restore.Budget
)

// NewBudget starts a count at zero.
func NewBudget(l Limits) *Budget { return restore.NewBudget(l) }
