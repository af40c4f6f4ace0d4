"""Pictures, the interactive page, and the comparison of runs."""
