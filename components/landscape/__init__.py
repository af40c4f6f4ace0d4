"""Loss surfaces: directions, grids, evaluation, measures."""
