""".npz, .npy and .safetensors."""

import io

import numpy as np
from safetensors.torch import load

from lossmap.components.core.archives import check_unpacked
from lossmap.components.data.formats.found import Found, as_value


def read_npz(content: bytes) -> Found:
    """The arrays of numpy.savez."""
    check_unpacked(content)
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return Found({name: as_value(archive[name]) for name in archive.files})


def read_npy(content: bytes) -> Found:
    """The one array of numpy.save, under no name."""
    return Found({"": as_value(np.load(io.BytesIO(content), allow_pickle=False))})


def read_safetensors(content: bytes) -> Found:
    """The tensors of safetensors.torch.save_file."""
    return Found(dict(load(content)))
