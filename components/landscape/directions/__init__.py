"""Directions in the space of a network's parameters: random ones, those of a trajectory, and their scale."""
