"""Numbers that describe a surface, each with its own definition and its 95 % interval."""
