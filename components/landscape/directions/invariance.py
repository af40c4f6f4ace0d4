"""The proof on a network of one's own: rescale it so that it computes the same, survey again, and see which
pictures changed.

A picture that changes while the function does not shows the weights' scale, not the function (Dinh et al.
2017). Filter normalisation withstands a factor for a whole layer (Li et al. 2018, section 4), and not one for
each neuron.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lossmap.components.config.landscape import Landscape, Normalization
from lossmap.components.core.copies import copied
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.imports import reason
from lossmap.components.core.progress import Progress, silent
from lossmap.components.landscape.directions.filters import filter_layouts
from lossmap.components.landscape.directions.random import normalized_direction
from lossmap.components.landscape.directions.rescaling import Kind, Rescaling, rescaled_copy
from lossmap.components.landscape.evaluator import Evaluator
from lossmap.components.landscape.forward import without_gradients
from lossmap.components.landscape.moving import moving_parameters
from lossmap.components.landscape.objective import Problem, Samples

# Smaller relative changes are rounding; with statistics estimated anew, BatchNorm's eps.
_TOLERANCE = {"frozen": 1e-6, "reestimated": 1e-3}


@dataclass(frozen=True)
class Row:
    """One normalisation under one rescaling.

    Attributes:
        normalization: of both directions.
        rescaling: of the network.
        change: the largest |f' - f| / f over the points, f the loss around the network and f' that around the
            rescaled one, along the same random numbers; NaN if no f is finite, None if the normalisation is
            impossible here.
    """

    normalization: Normalization
    rescaling: Kind
    change: float | None


@dataclass(frozen=True)
class Proof:
    """How much each normalisation's picture changes although the function does not.

    Attributes:
        rescalings: all kinds, those that are impossible here as well.
        rows: every normalisation with every possible kind.
        tolerance: relative changes up to it do not count: 1e-6 with frozen statistics, for rounding; 1e-3
            with statistics that are estimated anew, as their BatchNorm's eps is not rescaled.
    """

    rescalings: tuple[Rescaling, ...]
    rows: tuple[Row, ...]
    tolerance: float

    def unchanged(self) -> list[Normalization]:
        """The normalisations whose picture no rescaling changed by more than the tolerance; none where
        nothing was rescaled.
        """
        return [name for name, changes in self._changes().items() if all(map(self._is_rounding, changes))]

    def changed(self) -> list[Normalization]:
        """Those whose picture some rescaling changed by more than that."""
        rows = [row for row in self.rows if row.change is not None and not self._is_rounding(row.change)]
        return list(dict.fromkeys(row.normalization for row in rows))

    def impossible(self) -> list[Normalization]:
        """Those that these weights do not have: neuron, where zeros leave them no common scale."""
        return [name for name, changes in self._changes().items() if None in changes]

    def _is_rounding(self, change: float | None) -> bool:
        return change is not None and change <= self.tolerance

    def _changes(self) -> dict[Normalization, list[float | None]]:
        changes: dict[Normalization, list[float | None]] = {}
        for row in self.rows:
            changes.setdefault(row.normalization, []).append(row.change)
        return changes


def prove(
    problem: Problem, landscape: Landscape, points: Sequence[float], progress: Progress = silent
) -> Proof:
    """Survey a network and its rescaled copies along the lines of the first pair of random directions, in
    float64, with every normalisation.

    Args:
        problem: few samples do, as an invariance holds on each of them; the cost is 2 len(points) evaluations
            for each of the six normalisations and of the up to four networks. The network is left as it is.
        landscape: seed, ignored parameters and BatchNorm's statistics are as it says (frozen where they are
            coordinates).
        points: along each of the two directions, for instance 11 from -1 to 1.
        progress: is told of every finished line.
    """
    original = _double_copy(problem.network)
    problem = Problem(original, problem.loss, _in_float64(problem.samples))
    rescalings: list[Rescaling] = []
    networks: dict[Kind, nn.Module] = {}
    for kind in get_args(Kind):
        networks[kind], rescaling = rescaled_copy(original, kind, landscape.seed)
        rescalings.append(_measured(rescaling, original, networks[kind], problem.samples))
    around: dict[Kind | None, nn.Module] = {
        None: original,
        **{rescaling.kind: networks[rescaling.kind] for rescaling in rescalings if rescaling.scales},
    }
    lines = list(itertools.product(get_args(Normalization), around)) if len(around) > 1 else []
    losses = {}
    for done, (normalization, kind) in enumerate(lines):
        progress(done, len(lines), normalization)
        losses[normalization, kind] = _losses(
            around[kind], problem, landscape.model_copy(update={"normalization": normalization}), points
        )
    progress(len(lines), len(lines), "")
    rows = [
        Row(normalization, kind, _largest_change(losses[normalization, None], losses[normalization, kind]))
        for normalization, kind in lines
        if kind
    ]
    return Proof(tuple(rescalings), tuple(rows), _TOLERANCE[_statistics(landscape)])


def proof_text(proof: Proof) -> list[str]:
    """What was done and what follows, in sentences; the numbers are in the rows."""
    lines = [_rescaling_text(rescaling) for rescaling in proof.rescalings]
    if not proof.rows:
        return [
            *lines,
            "Nothing of this network can be rescaled, so that no normalisation is put to the test.",
        ]
    kept, changed, impossible = (
        ", ".join(names) for names in (proof.unchanged(), proof.changed(), proof.impossible())
    )
    lines.append(
        f"The function is the same. Under every rescaling its picture is the same, to {proof.tolerance:.0e},"
        f" with {kept or 'no normalisation'}."
    )
    if changed:
        lines.append(f"It changes with {changed}: what these show is in part the weights' scale.")
    if impossible:
        lines.append(
            f"These weights have no {impossible} normalisation: they are pruned so that no scale of rows and"
            " columns fits them."
        )
    return lines


def _rescaling_text(rescaling: Rescaling) -> str:
    text = f"{rescaling.kind}: {rescaling.what}"
    if rescaling.function_change is None:
        return text
    return f"{text}; the network's outputs change by {rescaling.function_change:.0e} of the largest"


def _double_copy(network: nn.Module) -> nn.Module:
    try:
        return copied(network).double().eval()
    except Exception as error:  # whatever the user's module holds
        raise ExperimentError(
            f"the network {type(network).__name__} cannot be copied, which rescaling needs: {reason(error)}"
        ) from None


def _in_float64(samples: Samples) -> Samples:
    inputs, targets = (
        tensor.double() if tensor.is_floating_point() else tensor
        for tensor in (samples.inputs, samples.targets)
    )
    return Samples(inputs, targets, samples.batch_size)


def _outputs(network: nn.Module, samples: Samples) -> Tensor:
    return without_gradients(
        network, lambda: torch.cat([network(inputs).detach() for inputs, _ in samples.batches()])
    )


def _measured(rescaling: Rescaling, original: nn.Module, changed: nn.Module, samples: Samples) -> Rescaling:
    if not rescaling.scales:
        return rescaling
    before, after = _outputs(original, samples), _outputs(changed, samples)
    return replace(rescaling, function_change=float((after - before).abs().max() / before.abs().max()))


def _losses(
    network: nn.Module, problem: Problem, landscape: Landscape, points: Sequence[float]
) -> list[float] | None:
    """Along x, then along y. None where the weights cannot be normalised: by neuron, if they are pruned."""
    network = copied(network)
    weights = {name: parameter.cpu() for name, parameter in moving_parameters(network).items()}
    layouts = filter_layouts(network)
    try:
        x, y = (normalized_direction(weights, axis, landscape, layouts=layouts) for axis in ("x", "y"))
    except ExperimentError:
        return None
    evaluate = Evaluator(Problem(network, problem.loss, problem.samples), (x, y), _statistics(landscape))
    along_x = [evaluate(t, 0.0).loss for t in points]
    return along_x + [evaluate(0.0, t).loss for t in points]


def _statistics(landscape: Landscape) -> Literal["frozen", "reestimated"]:
    return "reestimated" if landscape.batch_norm == "reestimated" else "frozen"


def _largest_change(before: Sequence[float] | None, after: Sequence[float] | None) -> float | None:
    if before is None or after is None:
        return None
    return max(
        (_change(f, g) for f, g in zip(before, after, strict=True) if math.isfinite(f)), default=math.nan
    )


def _change(before: float, after: float) -> float:
    if before == after:
        return 0.0
    return abs(after - before) / abs(before) if before != 0 and math.isfinite(after) else math.inf
