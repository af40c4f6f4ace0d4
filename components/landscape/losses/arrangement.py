"""Which number of the outputs belongs to which of the targets."""

import torch
from torch import Tensor

from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.losses.loss import described


def has_classes(outputs: Tensor, targets: Tensor) -> bool:
    """Whether outputs have one axis more than integer targets: the second, as torch has it, or the last."""
    if targets.is_floating_point() or targets.is_complex() or outputs.dim() < 2:
        return False
    return _second_fits(outputs, targets) or outputs.shape[:-1] == targets.shape


def classes_second(outputs: Tensor, targets: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Outputs N x C x … and integer targets N x …, as torch's losses of classes take them.

    The second axis is that of the classes, as torch has it, and the last one where the second does not fit.
    One target for each sample may come as N x 1.

    Args:
        outputs: N x C x …, or N x … x C.
        targets: integers, N x …
        name: of the loss, for the message.

    Raises:
        ExperimentError: neither axis fits, or there is one class.
    """
    if outputs.dim() == 2 and targets.shape == (len(outputs), 1):
        targets = targets[:, 0]
    if not has_classes(outputs, targets):
        raise ExperimentError(
            f"the loss {name} has {described(outputs, targets)}, expected integer targets and outputs that"
            " have their shape and one axis more, the second, for the classes; probabilities of classes are"
            " floating point and have the outputs' shape"
        )
    arranged = outputs if _second_fits(outputs, targets) else outputs.movedim(-1, 1)
    if arranged.shape[1] == 1:
        raise ExperimentError(
            f"the loss {name} has {described(outputs, targets)}: one class, expected two or more; for one"
            " number that tells two classes apart take torch.nn:BCEWithLogitsLoss, for a regression mse"
        )
    return arranged, targets


def like_outputs(outputs: Tensor, targets: Tensor, name: str) -> Tensor:
    """Targets in the shape of the outputs, float64: N for N x 1, or flattened where the outputs are. Nothing
    is broadcast.

    Raises:
        ExperimentError: they do not belong together, number by number.
    """
    if _squeezed(outputs) != _squeezed(targets) and not _one_is_flat(outputs, targets):
        raise ExperimentError(
            f"the loss {name} has {described(outputs, targets)}, expected one shape: a target for each output"
        )
    return targets.reshape(outputs.shape).to(torch.float64)


def real(outputs: Tensor, name: str) -> Tensor:
    """Outputs in float64.

    Raises:
        ExperimentError: they are complex.
    """
    if outputs.is_complex():
        raise ExperimentError(
            f"the loss {name} has outputs of the type {str(outputs.dtype).removeprefix('torch.')}, expected"
            " real numbers; let the network return .abs() or torch.view_as_real of them, or hand over a loss"
            " of your own"
        )
    return outputs.double()


def _second_fits(outputs: Tensor, targets: Tensor) -> bool:
    return outputs.shape[:1] + outputs.shape[2:] == targets.shape


def _squeezed(tensor: Tensor) -> list[int]:
    return [*tensor.shape[:1], *(size for size in tensor.shape[1:] if size != 1)]


def _one_is_flat(outputs: Tensor, targets: Tensor) -> bool:
    same = outputs.shape[:1] == targets.shape[:1] and outputs.numel() == targets.numel()
    return same and min(outputs.dim(), targets.dim()) == 2
