"""Stills for papers and slides: lit surfaces of one or several networks on one scale."""
