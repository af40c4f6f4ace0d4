"""Pictures, page and numbers of one run, and of several side by side."""
