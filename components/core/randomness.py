"""Named streams of random numbers: the same name gives the same numbers in every process, on every
machine, whatever torch's version.
"""

import hashlib

import numpy as np


def stream(*names: str | int) -> np.random.Generator:
    """A generator of its own for every sequence of names, for example `stream("directions", seed, "x",
    "layer1.weight")`.

    The key of the counter-based Philox generator (Salmon et al. 2011) is the SHA-256 of the names, so that
    neighbouring seeds and different purposes never share numbers.
    """
    digest = hashlib.sha256("/".join(str(name) for name in names).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def seed(*names: str | int) -> int:
    """A 63-bit seed for libraries that have generators of their own, such as torch."""
    return int(stream(*names).integers(2**63))
