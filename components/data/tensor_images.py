"""Tensors that are images: uint8 with data.layout."""

import numpy as np
import torch

from lossmap.components.config.data import Data
from lossmap.components.core.errors import DataError
from lossmap.components.data.decode import resize_all
from lossmap.components.data.labelled import Labelled, Source
from lossmap.components.data.sizing import Sizing
from lossmap.components.data.tensors import Pair, TensorSource


def are_images(source: TensorSource, data: Data) -> bool:
    """Whether the inputs are pixels."""
    return data.layout is not None and source.splits["train"][0].dtype == torch.uint8


def as_images(source: TensorSource, data: Data) -> Source:
    """The same samples, in the size that `data` asks for; targets of the shape N x 1 become N.

    Raises:
        DataError: the targets are no classes, or images of that number of channels cannot be resized.
    """
    splits = {split: _labelled(pair, data) for split, pair in source.splits.items()}
    return Source(source.classes, splits, notes=source.notes)


def _labelled(pair: Pair, data: Data) -> Labelled:
    inputs, targets = pair
    targets = targets[:, 0] if targets.dim() == 2 and targets.shape[1] == 1 else targets
    if targets.dim() != 1 or targets.dtype != torch.int64:
        raise DataError(
            f"the targets of {data.source} are {tuple(targets.shape)} {str(targets.dtype)[6:]}, expected one"
            " class for each image with data.layout; for other targets, scale the inputs to floats yourself"
        )
    pixels, sizing = inputs.numpy(), Sizing.of(data)
    if sizing.is_plain:
        return Labelled(pixels, targets.numpy())
    if pixels.shape[1] not in (1, 3):
        raise DataError(
            f"the images of {data.source} have {pixels.shape[1]} channels, expected 1 or 3 for"
            " data.image_size and data.crop"
        )
    return Labelled(np.ascontiguousarray(resize_all(pixels, sizing, data.source)), targets.numpy())
