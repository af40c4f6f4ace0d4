"""Runs in MLflow; `client` is the only module that speaks to it."""
