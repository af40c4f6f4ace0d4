"""Surfaces as files for other programs."""
