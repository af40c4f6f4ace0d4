"""The landscape's mathematics on what the store has: plan, tiles, pool, merge, results."""
