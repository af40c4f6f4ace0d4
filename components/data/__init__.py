"""From a source of images to packed tensors, and from there to batches."""
