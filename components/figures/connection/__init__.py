"""Numbers, page and picture of a connection of two networks."""
