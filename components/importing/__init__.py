"""Networks, losses and tensors of others, made into what every run consists of."""
