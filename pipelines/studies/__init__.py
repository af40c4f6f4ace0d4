"""Studies: named ones, their cells, and where the cells run."""
