"""What a network answers for a batch, or one line that says why it does not."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.imports import reason
from lossmap.components.landscape.calls import called
from lossmap.components.landscape.losses.loss import shape_and_type


def network_outputs(
    network: nn.Module, inputs: Tensor, weights: Mapping[str, Tensor] | None = None
) -> Tensor:
    """The network's outputs, sample by sample: N x …; with other weights in place of its own, by name.

    A network that squeezes its outputs loses the first dimension of a batch of one sample, which is put back.

    Raises:
        ExperimentError: it fails, or answers something else.
    """
    name = type(network).__name__
    try:
        outputs = called(network, inputs, weights)
    except (ExperimentError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever the user's network does
        raise ExperimentError(
            f"the network {name} fails on inputs of {shape_and_type(inputs)}: {reason(error)}"
        ) from None
    if not isinstance(outputs, Tensor):
        raise ExperimentError(
            f"the network {name} returns {_kind(outputs)}, expected one tensor; let the factory wrap it in a"
            " module that returns the one that the loss takes"
        )
    if len(inputs) == 1 and outputs.shape[:1] != (1,):
        outputs = outputs[None]
    if outputs.shape[:1] != inputs.shape[:1]:
        raise ExperimentError(
            f"the network {name} returns the shape {tuple(outputs.shape)} for inputs of the shape"
            f" {tuple(inputs.shape)}, expected the sample as the first dimension of both"
        )
    return outputs


def are_close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether two tensors of one shape differ by at most `tolerance` times the largest finite magnitude of
    what is expected; what is NaN or infinite has to be so in both.
    """
    magnitudes = expected.abs()
    finite = magnitudes[magnitudes.isfinite()]
    largest = float(finite.max()) if finite.numel() else 0.0
    return found.shape == expected.shape and torch.allclose(
        found, expected, rtol=0, atol=tolerance * largest, equal_nan=True
    )


def _kind(outputs: Any) -> str:
    kind = type(outputs).__name__
    if isinstance(outputs, tuple | list):
        return f"a {kind} of {len(outputs)}"
    if hasattr(outputs, "keys"):
        return f"{kind} with {', '.join(map(str, outputs.keys()))}"
    return kind
