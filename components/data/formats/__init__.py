"""Files of tensors, each format by itself: from the content of a file to arrays by name."""
