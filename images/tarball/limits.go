package tarball

import "poolctl/images/internal/restore"

type (
	// Limits are what an archive may ask for.
	Limits = restore.Limits
	// LimitError says which of them it exceeds.
	LimitError = restore.LimitError
	// Budget counts what has been used of Limits.
	Budget = restore.Budget
)

// NewBudget starts a count at zero.
func NewBudget(l Limits) *Budget { return restore.NewBudget(l) }
