"""Losses as ratios of sums over samples: torch's own, and those of others."""
