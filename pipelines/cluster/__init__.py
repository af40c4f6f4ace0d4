"""Runs on a cluster: the pipeline's graph, submission, follow-up, cancellation."""
