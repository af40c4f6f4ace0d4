"""Paths between two networks, and the loss along them.

A path is w(t) = sum over k of c_k(t) p_k for t from 0 to 1, with w(0) the first network and w(1) the second.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lossmap.components.core.copies import copied
from lossmap.components.core.progress import Progress, silent
from lossmap.components.landscape.connectivity.barriers import Profile
from lossmap.components.landscape.forward import fixed, losses_of
from lossmap.components.landscape.objective import SampleLoss, Samples, group_means

State = Mapping[str, Tensor]  # parameters and buffers of a network by name
Coefficients = Callable[[float], tuple[float, ...]]
# brings the network's statistics in order at t, after its weights were set
Settle = Callable[[nn.Module, float], None]

_CONSTANT = ("loss_weights", "error_weights")  # along a path


def line(t: float) -> tuple[float, ...]:
    """Coefficients of the straight line (1-t) a + t b."""
    return 1 - t, t


@dataclass(frozen=True)
class Path:
    """w(t) = sum over k of c_k(t) p_k.

    Attributes:
        points: p_k, states of one network; the first and the last are the ends of the path.
        coefficients: c_k as functions of t. At 0 and at 1 exactly one of them is 1 and the others are 0.
    """

    points: tuple[State, ...]
    coefficients: Coefficients = line

    def at(self, t: float) -> dict[str, Tensor]:
        """The state at t, summed in float64 and rounded once; a point whose coefficient is 0 takes no part,
        so that the ends are exact.

        Integers, such as the number of batches that BatchNorm has seen, are the first point's.
        """
        parts = [(c, point) for c, point in zip(self.coefficients(t), self.points, strict=True) if c]
        state = {name: tensor.clone() for name, tensor in self.points[0].items()}
        for name, tensor in state.items():
            if tensor.is_floating_point():
                total = torch.zeros((), dtype=torch.float64, device=tensor.device)
                for c, point in parts:
                    total = total + c * point[name].double()
                state[name] = total.to(tensor.dtype)
        return state


def evaluate(
    problem: tuple[nn.Module, SampleLoss],
    samples: Mapping[str, Samples],
    path: Path,
    points: Sequence[float],
    settle: Settle,
    progress: Progress = silent,
) -> dict[str, Profile]:
    """Loss and error at every t of `points`, for each of the named sets of samples.

    Args:
        problem: a network, which stays as it is, and the loss.
        samples: by name; a path is walked once for all of them.
        path: where to go; every point starts from the stored ends, so that nothing drifts.
        points: values of t, rising from 0 to 1.
        settle: called at every point before anything is evaluated there.
        progress: called after every point.
    """
    # the path's ends may be its own tensors
    network, loss = fixed(copied(problem[0]).eval()), problem[1]
    groups = {name: chosen.groups() for name, chosen in samples.items()}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in samples}
    for done, t in enumerate(points, start=1):
        network.load_state_dict(path.at(t))
        settle(network, t)
        for name, chosen in samples.items():
            rows[name].append(_measure(network, loss, chosen, groups[name]))
        progress(done, len(points), f"t = {t:.3g}")
    return {name: _profile(points, measured) for name, measured in rows.items()}


def _profile(points: Sequence[float], rows: Sequence[Mapping[str, Any]]) -> Profile:
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0] if key not in _CONSTANT}
    return Profile(t=np.array(points), **columns, **{key: rows[0][key] for key in _CONSTANT})


def _measure(network: nn.Module, loss: SampleLoss, samples: Samples, groups: Tensor) -> dict[str, Any]:
    row: dict[str, Any] = {}
    losses, errors = losses_of(network, loss, samples)
    for name, plural, found in (("loss", "losses", losses), ("error", "errors", errors)):
        row[name] = np.float64(found.mean)
        row[f"{name}_standard_error"] = np.float64(found.standard_error)
        row[f"group_{plural}"] = group_means(found.values, groups).numpy()
        row[f"{name}_weights"] = group_means(found.weights, groups).numpy()
    return row
