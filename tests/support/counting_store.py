"""A store that knows what it was asked for."""

from collections import Counter

from lossmap.components.stores.objects import FileStore


class CountingStore(FileStore):
    """A folder.

    Attributes:
        asked: how often, by kind: read, exists or list.
        keys_read: in their order.
    """

    def __init__(self, folder):
        super().__init__(folder)
        self.asked, self.keys_read = Counter(), []

    def read(self, key):
        self.asked["read"] += 1
        self.keys_read.append(key)
        return super().read(key)

    def exists(self, key):
        self.asked["exists"] += 1
        return super().exists(key)

    def keys(self, prefix):
        self.asked["list"] += 1
        return super().keys(prefix)
