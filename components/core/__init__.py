"""What imports nothing of ours: errors, frozen models, progress, processes, randomness, serialization."""
