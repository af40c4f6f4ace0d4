"""Surveys of a plane that evaluate only where the loss is not known well enough yet."""
