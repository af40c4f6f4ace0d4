"""Curves with one bend between two networks, whose bend is trained so that the loss along the curve is low
(Garipov et al. 2018).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lossmap.components.core.copies import copied
from lossmap.components.core.errors import TrainingError
from lossmap.components.core.progress import Progress, silent
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.connectivity.paths import Coefficients, State
from lossmap.components.landscape.forward import fixed
from lossmap.components.landscape.moving import moving_parameters
from lossmap.components.landscape.objective import SampleLoss
from lossmap.components.landscape.outputs import network_outputs

# number of an epoch, from 0, to its batches of inputs and targets
Epoch = Callable[[int], Iterable[tuple[Tensor, Tensor]]]


def bezier(t: float) -> tuple[float, ...]:
    """Coefficients of the quadratic Bezier curve (1-t)^2 a + 2 t (1-t) theta + t^2 b (Garipov et al. 2018,
    eq. 4).
    """
    return (1 - t) ** 2, 2 * t * (1 - t), t**2


def polygon(t: float) -> tuple[float, ...]:
    """Coefficients of the polygonal chain a, theta, b (Garipov et al. 2018, eq. 3): 2 (t theta + (1/2 - t)
    a), then 2 ((t - 1/2) b + (1 - t) theta).
    """
    return (1 - 2 * t, 2 * t, 0.0) if t <= 0.5 else (0.0, 2 - 2 * t, 2 * t - 1)


CURVES: dict[str, Coefficients] = {"bezier": bezier, "polygon": polygon}


@dataclass(frozen=True)
class Descent:
    """Stochastic gradient descent on the bend.

    Attributes:
        epochs: passes over the batches.
        steps: batches in an epoch.
        learning_rate: at the start; it falls to 0 along a cosine.
        seed: of the values of t.
        momentum: of the heavy ball.
        batch_statistics: whether BatchNorm normalises by each batch's own statistics, as in training, or by
            those that the path interpolates.
    """

    epochs: int
    steps: int
    learning_rate: float
    seed: int
    momentum: float = 0.9
    batch_statistics: bool = True


def train_bend(
    problem: tuple[nn.Module, SampleLoss],
    ends: tuple[State, State],
    coefficients: Coefficients,
    epoch: Epoch,
    descent: Descent,
    progress: Progress = silent,
) -> State:
    """The theta that minimises E over t ~ U(0, 1) of f(phi(t)) (Garipov et al. 2018, eq. 2), starting from (a
    + b) / 2.

    One t is drawn for each batch; the gradient with respect to theta is c_1(t) grad f(phi(t)). Buffers and
    frozen parameters are not trained: they are (a + b) / 2, so that on a Bezier curve and on a chain they
    go from a's to b's as they do on the straight line.

    Args:
        problem: a network, which stays as it is, and the loss, whose plain mean over all batches is
            minimised.
        ends: the states a and b.
        coefficients: `bezier` or `polygon`.
        epoch: the batches of an epoch.
        descent: how.
        progress: called after every step, with the mean loss of the epoch so far.

    Raises:
        TrainingError: the loss became NaN or infinite.
    """
    network, loss = _for_training(problem[0], descent.batch_statistics), problem[1]
    bend, theta = _start(problem[0], ends)
    optimizer = torch.optim.SGD(theta, descent.learning_rate, descent.momentum)
    replaced = [name for name, _ in network.named_parameters()]
    if not descent.batch_statistics:
        replaced += [name for name, _ in network.named_buffers()]
    draws, total = stream("curve", descent.seed), descent.epochs * descent.steps
    step = 0
    for number in range(descent.epochs):
        sum_of_losses, count = 0.0, 0
        for inputs, targets in epoch(number):
            rate = descent.learning_rate * (1 + math.cos(math.pi * step / total)) / 2
            optimizer.param_groups[0]["lr"] = rate
            state = _state(coefficients(float(draws.random())), ends, bend)
            outputs = network_outputs(network, inputs, {name: state[name] for name in replaced})
            value = loss(outputs, targets).mean()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            step, count, sum_of_losses = step + 1, count + 1, sum_of_losses + float(value.detach())
            progress(step, total, f"loss {sum_of_losses / count:.3g}")
        if not math.isfinite(sum_of_losses):
            raise TrainingError(
                f"the loss on the curve is {sum_of_losses} in epoch {number + 1}; lower --curve-learning-rate"
                f" ({descent.learning_rate})"
            )
    return {name: tensor.detach() for name, tensor in bend.items()}


def _start(network: nn.Module, ends: tuple[State, State]) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The bend (a + b) / 2 by name, and what of it is trained; a parameter with two names is one tensor."""
    bend = {name: _middle(ends[0][name], ends[1][name]) for name in ends[0]}
    theta: dict[nn.Parameter, Tensor] = {}
    moving = set(moving_parameters(network).values())
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if parameter not in moving:
            continue
        bend[name] = theta.setdefault(parameter, bend[name].requires_grad_())
    return bend, list(theta.values())


def _for_training(network: nn.Module, batch_statistics: bool) -> nn.Module:
    """A copy in evaluation mode, so that nothing is dropped, but for BatchNorm where it takes the
    statistics of each batch.
    """
    training = fixed(copied(network).eval())
    for module in training.modules():
        if batch_statistics and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    return training


def _middle(a: Tensor, b: Tensor) -> Tensor:
    return ((a.double() + b.double()) / 2).to(a.dtype) if a.is_floating_point() else a.clone()


def _state(coefficients: tuple[float, ...], ends: tuple[State, State], bend: State) -> dict[str, Tensor]:
    first, middle, last = coefficients
    state = dict(bend)
    for name, tensor in bend.items():
        if tensor.is_floating_point():
            state[name] = first * ends[0][name] + middle * tensor + last * ends[1][name]
    return state
