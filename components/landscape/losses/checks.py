"""Whether a loss is what a survey needs: a function of each sample alone, of which it takes the mean."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.losses.arrangement import classes_second, has_classes
from lossmap.components.landscape.losses.loss import IGNORED, Loss, described
from lossmap.components.landscape.losses.own import EACH, OwnLoss

_ROUNDINGS = 20  # of the largest loss and output, by which two numbers that are equal may differ


@torch.no_grad()
def check_loss(loss: Loss, outputs: Tensor, targets: Tensor) -> None:
    """Try a loss on a network's outputs for some samples: 64 are plenty, of all classes.

    It is tried in float64 where it takes that, and numbers count as equal that differ by 1e-9 of the largest
    of the samples' losses; else by 20 roundings of the largest loss and output.

    Args:
        loss: with any scale.
        outputs: N x …
        targets: N x …

    Raises:
        ExperimentError: it is random; it changes outputs or targets; a sample's loss depends on the others in
            its batch; the loss's own number for all of them is not the mean that a survey takes; or ignored
            targets count.
    """
    trial = _Trial(loss, outputs, targets, described(outputs, targets))
    trial = _in_float64(trial) or trial
    values = trial.repeatable()
    tolerance = trial.tolerance(values)
    for size in (1, 2):
        if len(targets) > size:
            trial.check_batches(values, size, tolerance)
    trial.check_number(values, tolerance)
    if isinstance(loss, OwnLoss) and not targets.is_floating_point():
        _check_ignored(loss, outputs, targets)


@torch.no_grad()
def check_average(loss: Loss, outputs: Tensor, targets: Tensor, values: Tensor) -> None:
    """Whether the loss's own number for a batch is the mean of what it gives its samples, to a rounding of
    the largest loss and output for each sample that is added, and 20 at least. check_loss tries few samples;
    those that weigh otherwise may be rare.

    Args:
        loss: with any scale.
        outputs: N x …
        targets: N x …
        values: the loss of each: (N,).

    Raises:
        ExperimentError: it is not.
    """
    trial = _Trial(loss, outputs, targets, described(outputs, targets))
    trial.check_number(values, trial.tolerance(values) * max(1, len(values) / _ROUNDINGS))


@dataclass(frozen=True)
class _Trial:
    """A loss on some samples, and what these are, for messages."""

    loss: Loss
    outputs: Tensor
    targets: Tensor
    what: str

    def repeatable(self) -> Tensor:
        """The losses, which are the same twice and leave their arguments as they are."""
        outputs, targets, name = self.outputs.clone(), self.targets.clone(), self.loss.name
        first = self.loss(outputs, targets)
        for argument, before, after in (
            ("outputs", self.outputs, outputs),
            ("targets", self.targets, targets),
        ):
            if not _same(before, after):
                raise ExperimentError(
                    f"the loss {name} changes its {argument} in place, expected it to leave them as they are;"
                    " let it work on a clone()"
                )
        second = self.loss(outputs, targets)
        if not _same(first, second):
            raise ExperimentError(
                f"the loss {name} is random: it gives the same samples {float(first.mean()):.6g} and then"
                f" {float(second.mean()):.6g}, expected the same number; draw nothing in it, or from a"
                " generator with a seed that is set in every call"
            )
        return first

    def tolerance(self, values: Tensor) -> float:
        """By how much two numbers that are equal may differ."""
        largest = _largest(values)
        if self.outputs.dtype == torch.float64:
            return 1e-9 * largest
        kind = self.outputs.dtype if self.outputs.is_floating_point() else torch.float32
        return _ROUNDINGS * torch.finfo(kind).eps * (largest + _largest(self.outputs))

    def check_batches(self, values: Tensor, size: int, tolerance: float) -> None:
        """Whether the losses are the same in small batches."""
        pairs = zip(self.outputs.split(size), self.targets.split(size), strict=True)
        found = torch.cat([self.loss(*pair) for pair in pairs if len(pair[1]) == size])
        differs = ~torch.isclose(found, values[: len(found)], rtol=0, atol=tolerance, equal_nan=True)
        if differs.any():
            place = int(differs.nonzero()[0])
            raise ExperimentError(
                f"the loss {self.loss.name} gives a sample {found[place]:.6g} in a batch of {size} and"
                f" {values[place]:.6g} in one of {len(values)} ({self.what}): the loss of a sample depends on"
                f" the others in its batch, expected that it does not; {EACH}, from its own outputs alone"
            )

    def check_number(self, values: Tensor, tolerance: float) -> None:
        """Whether the loss's own number is the mean of these losses of the samples."""
        total = float(self.loss.weights(self.targets).sum())
        number = self.loss.own_number(self.outputs, self.targets)
        if number is None or not total:
            return
        mean, tolerance = float(values.sum()) / total, tolerance / self.loss.scale
        if abs(number - mean) <= tolerance or number == mean or (math.isnan(number) and math.isnan(mean)):
            return
        raise ExperimentError(
            f"the loss {self.loss.name} gives {number:.6g} for {len(self.targets)} samples at once, and the"
            f" mean of the losses of each is {mean:.6g} ({self.what}), expected the same: its own average is"
            f" another; {EACH}, times its weight over the mean weight where samples have weights, or a loss"
            " of torch.nn"
        )


def _in_float64(trial: _Trial) -> _Trial | None:
    """None where the loss does not take it, for instance because it has weights in float32, or answers in
    less.
    """
    if trial.outputs.is_complex():
        return None
    outputs, targets = trial.outputs.double(), trial.targets
    targets = targets.double() if targets.is_floating_point() else targets
    try:
        for part in (slice(None), slice(1)):
            trial.loss(outputs[part].clone(), targets[part].clone())
        trial.loss.own_number(outputs.clone(), targets.clone())
        if isinstance(trial.loss, OwnLoss):
            answer = trial.loss.elements(outputs[:1].clone(), targets[:1].clone())
            if answer.dtype != torch.float64:
                return None
    except ExperimentError:
        return None
    return _Trial(trial.loss, outputs, targets, trial.what)


def _check_ignored(loss: OwnLoss, outputs: Tensor, targets: Tensor) -> None:
    """Ignored targets whose loss is 0 would count as if they were right. Those of -100 are ignored, and those
    that are no class of the outputs, such as 255 at the border of an object.
    """
    elements, ignored = loss.elements(outputs, targets), targets == IGNORED
    if has_classes(outputs, targets):
        count = classes_second(outputs, targets, loss.name)[0].shape[1]
        ignored = ignored | (targets < 0) | (targets >= count)
    if elements.dim() == 1:
        ignored = ignored.flatten(1).all(dim=1) if ignored.dim() > 1 else ignored
    if elements.shape != ignored.shape or not ignored.any() or ignored.all():
        return
    if not elements[ignored].any() and elements[~ignored].any():
        raise ExperimentError(
            f"the loss {loss.name} is 0 for all {int(ignored.sum())} targets that are"
            f" {_listed(targets[ignored])}, which would count as if they were right; leave these samples out,"
            " or survey torch.nn:CrossEntropyLoss, whose mean passes over them (ignore_index)"
        )


def _listed(targets: Tensor) -> str:
    return ", ".join(map(str, targets.unique()[:4].tolist()))


def _same(one: Tensor, other: Tensor) -> bool:
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _largest(values: Tensor) -> float:
    return values.abs().nan_to_num(0, 0).max().item()
