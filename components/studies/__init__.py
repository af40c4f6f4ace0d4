"""Studies: what many runs together say, with effect sizes, intervals and corrected p-values."""
