"""What is typed: every command of `lossmap`, light enough to be imported for --help."""
