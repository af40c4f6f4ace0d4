"""Manifests for tests that need the shape of a data set and no images."""

from lossmap.components.config.manifest import Manifest


def manifest(channels=1, size=8, classes=10):
    """A data set of square images that has none."""
    return Manifest(
        digest="0" * 64,
        source="test",
        classes=tuple(str(label) for label in range(classes)),
        shape=(channels, size, size),
        mean=(0.5,) * channels,
        deviation=(0.25,) * channels,
        train=(),
        test=(),
    )
