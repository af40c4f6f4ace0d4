"""What is surveyed: a loss over samples that stay in memory."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Imported
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.imports import python_object
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.losses.loss import Loss
from lossmap.components.landscape.losses.own import built, own_loss
from lossmap.components.landscape.losses.torch_losses import ClassLoss, ElementLoss, torch_loss
from lossmap.components.landscape.outputs import network_outputs

# outputs and targets of a batch to one number for each sample (N,); a Loss, or a function whose samples count
# alike
SampleLoss = Callable[[Tensor, Tensor], Tensor]

_GROUPS = 100


@dataclass(frozen=True)
class Samples:
    """Inputs and targets. The first dimension of both is the sample.

    Attributes:
        inputs: as the network wants them: N x …
        targets: as the loss wants them: N x …
        batch_size: samples that go through the network at a time.
    """

    inputs: Tensor
    targets: Tensor
    batch_size: int

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """The samples in order, batch by batch. A last one that would be alone, of which BatchNorm has no
        statistics, goes with the batch before.
        """
        sizes = [len(part) for part in self.targets.split(self.batch_size)]
        if len(sizes) > 1 and sizes[-1] == 1 < self.batch_size:
            sizes[-2:] = [self.batch_size + 1]
        return list(zip(self.inputs.split(sizes), self.targets.split(sizes), strict=True))

    def groups(self) -> Tensor:
        """The group of each sample, int64 (N,): min(N, 100) groups of nearly equal size, drawn at random,
        always the same ones.

        Means over groups tell the error of whatever is computed from the losses, without keeping every
        sample's loss at every point.
        """
        count = len(self)
        return torch.from_numpy(stream("groups", count).permutation(count) % min(count, _GROUPS))


@dataclass(frozen=True)
class Problem:
    """f(w) = (1/N) sum of loss(network(w, x_n), t_n) over the samples, and where w is.

    Attributes:
        network: in evaluation mode; its parameters are the w around which one looks.
        loss: one value for each sample of a batch; a Loss is scaled to these samples, so that their plain
            mean is the loss's own.
        samples: what it is averaged over.
    """

    network: nn.Module
    loss: SampleLoss
    samples: Samples

    def __post_init__(self) -> None:
        if isinstance(self.loss, Loss):
            object.__setattr__(self, "loss", self.loss.over(self.samples.targets))

    @property
    def weights(self) -> Tensor:
        """How much each sample counts: (N,), float64, of mean 1."""
        return _weights(self.loss, self.samples.targets)

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of a batch's losses, to take its derivative.

        Raises:
            ExperimentError: it has none.
        """
        losses = self.loss(outputs, targets)
        if outputs.requires_grad and not losses.requires_grad:
            name = self.loss.name if isinstance(self.loss, Loss) else "of these samples"
            raise ExperimentError(
                f"the loss {name} has no derivative to the outputs, expected one that torch can follow:"
                " without numpy(), detach() or argmax(); or survey it without landscape.curvature,"
                " landscape.convexity, and directions that are a gradient or of the Hessian"
            )
        return losses.sum()


@dataclass(frozen=True)
class SampleMean:
    """A ratio of sums over N samples, sum of v_n / sum of w_n, as a mean.

    Attributes:
        values: (N,) float64, N v_n / sum of w_n: their mean is the ratio.
        weights: (N,) float64, N w_n / sum of w_n: of mean 1.
    """

    values: Tensor
    weights: Tensor

    @classmethod
    def of(cls, values: Tensor, weights: Tensor) -> "SampleMean":
        """From v_n and w_n, on any device, both times any factor."""
        values, weights = values.cpu(), weights.cpu()
        scale = len(weights) / weights.sum()
        return cls(scale * values, scale * weights)

    @property
    def mean(self) -> float:
        """The ratio."""
        return float(self.values.mean())

    @property
    def standard_error(self) -> float:
        """s / sqrt(N), s the standard deviation of values - mean * weights, to which the ratio is linear
        around its expectation (Cochran 1977, section 2.11); NaN of a single sample.
        """
        return standard_error(self.values - self.mean * self.weights)

    def group_weights(self, groups: Tensor) -> tuple[float, ...]:
        """The mean weight of each of the groups; empty where all samples count alike."""
        alike = bool((self.weights == 1).all())
        return () if alike else tuple(group_means(self.weights, groups).tolist())


def like_parameters(inputs: Tensor, network: nn.Module) -> Tensor:
    """Inputs in the type of the network's parameters, so that a table in float64 meets a network in
    float32; integers stay as they are.
    """
    kind = floating_type(network) or inputs.dtype
    return inputs.to(kind) if inputs.is_floating_point() else inputs


def floating_type(network: nn.Module) -> torch.dtype | None:
    """That of a network's first parameter of floating point; None without one."""
    kinds = (parameter.dtype for parameter in network.parameters() if parameter.is_floating_point())
    return next(kinds, None)


def losses_and_errors(
    network: nn.Module, loss: SampleLoss, samples: Samples
) -> tuple[SampleMean, SampleMean]:
    """Loss and error over the samples, on the CPU, float64; the error is NaN where there are no classes or
    labels. The network may change its inputs in place, or keep gradients at them: it gets copies.
    """
    losses, errors = [], []
    for inputs, targets in samples.batches():
        outputs = network_outputs(network, inputs.clone())
        losses.append(loss(outputs, targets).detach())
        errors.append(loss.errors(outputs, targets) if isinstance(loss, Loss) else None)
    mean = SampleMean.of(torch.cat(losses).double(), _weights(loss, samples.targets))
    return mean, _error(errors, loss, samples)


def _error(errors: list[Tensor | None], loss: SampleLoss, samples: Samples) -> SampleMean:
    known = [part for part in errors if part is not None]
    if not isinstance(loss, Loss) or len(known) < len(errors):
        count = torch.ones(len(samples), dtype=torch.float64)
        return SampleMean(torch.nan * count, count)
    return SampleMean.of(torch.cat(known), loss.answers(samples.targets))


def _weights(loss: SampleLoss, targets: Tensor) -> Tensor:
    if isinstance(loss, Loss):
        return loss.weights(targets)
    return torch.ones(len(targets), dtype=torch.float64, device=targets.device)


def standard_error(values: Tensor) -> float:
    """s / sqrt(n), s the standard deviation of the n values; NaN of a single one."""
    return float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def group_means(values: Tensor, groups: Tensor) -> Tensor:
    """The mean of the values (N,) of each group (G,), for `groups` as of Samples.groups."""
    sizes = groups.bincount()
    return torch.zeros(len(sizes), dtype=values.dtype).index_add_(0, groups, values) / sizes


def experiment_loss(experiment: Experiment, manifest: Manifest) -> Loss:
    """The loss that an experiment surveys, with what is known of its targets.

    Raises:
        ExperimentError: as named_loss.
    """
    loss, model = named_loss(experiment.loss), experiment.model
    classes = model.classes if isinstance(model, Imported) else None
    return replace(loss, classes=classes, class_count=len(manifest.classes))


def named_loss(name: str) -> Loss:
    """The loss cross-entropy, mse, package.module:object, or one that was handed over in this process.

    Raises:
        ExperimentError: there is no such loss, or it is no mean over samples.
    """
    if name in _LOSSES:
        return _LOSSES[name]
    try:
        if ":" not in name:
            raise ExperimentError("it has no colon")
        found = python_object(name)
    except ExperimentError as error:
        raise ExperimentError(
            f"there is no loss {name!r} ({error}), expected cross-entropy, mse, or package.module:function"
        ) from None
    return users_loss(found, name)


@contextmanager
def loss_registration(name: str, loss: Any) -> Iterator[None]:
    """While this is open, this process knows a loss of the user's by its name."""
    _LOSSES[name] = users_loss(loss, name)
    try:
        yield
    finally:
        _LOSSES.pop(name, None)  # several networks may have one loss


def users_loss(loss: Any, name: str) -> Loss:
    """What a user names or hands over, as a loss: one of torch's, averaged as torch does, or a function or
    module of outputs and targets; a class is called without arguments. A Loss is one already.

    Raises:
        ExperimentError: it is no such thing, or no mean over samples.
    """
    if isinstance(loss, Loss):
        return loss
    found = built(loss, name)
    return torch_loss(found, name) or own_loss(found, name)


cross_entropy = ClassLoss(name="cross-entropy", function=F.cross_entropy, settings={})
mean_squared_error = ElementLoss(name="mse", function=F.mse_loss, settings={})
_LOSSES: dict[str, Loss] = {loss.name: loss for loss in (cross_entropy, mean_squared_error)}
