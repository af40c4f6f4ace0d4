"""Whether a loss is what a survey needs: a function of each sample alone, of which it takes the mean."""

import math

import torch
from torch import Tensor

from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.losses.loss import IGNORED, Loss, described
from lossmap.components.landscape.losses.own import EACH, OwnLoss


@torch.no_grad()
def check_loss(loss: Loss, outputs: Tensor, targets: Tensor) -> None:
    """Try a loss on a network's outputs for some samples (64 are plenty).

    Numbers count as equal where they differ by less than the square root of the outputs' precision times the
    largest of the samples' losses.

    Args:
        loss: with any scale.
        outputs: N x …
        targets: N x …

    Raises:
        ExperimentError: it is random; it changes outputs or targets; a sample's loss depends on the others in
            its batch; the loss's own number for all of them is not the mean that a survey takes; or ignored
            targets count.
    """
    values = _repeatable(loss, outputs, targets)
    tolerance = _precision(outputs) * max(values.abs().nan_to_num(0, 0).max().item(), 1e-300)
    for size in (1, 2):
        if len(targets) > size:
            _check_batches(loss, outputs, targets, values, size, tolerance)
    _check_number(loss, outputs, targets, tolerance / loss.scale)
    if isinstance(loss, OwnLoss) and not targets.is_floating_point():
        _check_ignored(loss, outputs, targets)


def _repeatable(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    given = outputs.clone(), targets.clone()
    first = loss(*given)
    for name, before, after in zip(("outputs", "targets"), (outputs, targets), given, strict=True):
        if not _same(before, after):
            raise ExperimentError(
                f"the loss {loss.name} changes its {name} in place, expected it to leave them as they are;"
                " let it work on a clone()"
            )
    second = loss(*given)
    if not _same(first, second):
        raise ExperimentError(
            f"the loss {loss.name} is random: it gives the same samples {float(first.mean()):.6g} and then"
            f" {float(second.mean()):.6g}, expected the same number; draw nothing in it, or from a generator"
            " with a seed that is set in every call"
        )
    return first


def _check_batches(
    loss: Loss, outputs: Tensor, targets: Tensor, values: Tensor, size: int, tolerance: float
) -> None:
    parts = [
        loss(*pair)
        for pair in zip(outputs.split(size), targets.split(size), strict=True)
        if len(pair[1]) == size
    ]
    found = torch.cat(parts)
    differs = ~torch.isclose(found, values[: len(found)], rtol=0, atol=tolerance, equal_nan=True)
    if differs.any():
        place = int(differs.nonzero()[0])
        raise ExperimentError(
            f"the loss {loss.name} gives a sample {found[place]:.6g} in a batch of {size} and"
            f" {values[place]:.6g} in one of {len(values)} ({described(outputs, targets)}): the loss of a"
            " sample"
            f" depends on the others in its batch, expected that it does not; {EACH}, from its own outputs"
            " alone"
        )


def _check_number(loss: Loss, outputs: Tensor, targets: Tensor, tolerance: float) -> None:
    total = float(loss.weights(targets).sum())
    number = loss.own_number(outputs, targets)
    if number is None or not total:
        return
    mean = float(loss(outputs, targets).sum()) / total
    if abs(number - mean) <= tolerance or number == mean or (math.isnan(number) and math.isnan(mean)):
        return
    raise ExperimentError(
        f"the loss {loss.name} gives {number:.6g} for {len(targets)} samples at once, and the mean of the"
        " losses"
        f" of each is {mean:.6g} ({described(outputs, targets)}), expected the same: its own average is"
        " another;"
        f" {EACH}, times its weight over the mean weight where samples have weights, or a loss of torch.nn"
    )


def _check_ignored(loss: OwnLoss, outputs: Tensor, targets: Tensor) -> None:
    """Ignored targets whose loss is 0 would count as if they were right."""
    elements, ignored = loss.elements(outputs, targets), targets == IGNORED
    if elements.dim() == 1:
        ignored = ignored.flatten(1).all(dim=1) if ignored.dim() > 1 else ignored
    if elements.shape != ignored.shape or not ignored.any() or ignored.all():
        return
    if not elements[ignored].any() and elements[~ignored].any():
        raise ExperimentError(
            f"the loss {loss.name} is 0 for all {int(ignored.sum())} targets that are {IGNORED}, which would"
            " count"
            " as if they were right; leave these samples out, or survey torch.nn:CrossEntropyLoss, whose mean"
            " passes over them"
        )


def _same(one: Tensor, other: Tensor) -> bool:
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _precision(outputs: Tensor) -> float:
    kind = outputs.dtype if outputs.is_floating_point() or outputs.is_complex() else torch.float32
    return math.sqrt(torch.finfo(kind).eps)
