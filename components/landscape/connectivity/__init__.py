"""Paths between two networks: alignment of their channels, lines and curves, and the barriers along them."""
