"""Runs in MLflow; `client` logs them, `rest` asks what it does not, `errors` has what goes wrong."""
