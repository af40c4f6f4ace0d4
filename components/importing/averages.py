"""How a loss that averages over a batch by itself weighs its samples.

Such a loss is sum w_n l_n / sum w_n with l_n its number for sample n alone. What w_n is cannot be read off
the function: every count that is usual is tried on batches, at the network's weights and beside them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lossmap.components.core.copies import copied
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.notes import tell
from lossmap.components.importing.rows import Field, Part, Rows
from lossmap.components.landscape.forward import without_gradients
from lossmap.components.landscape.losses.loss import IGNORED

if TYPE_CHECKING:
    from lossmap.components.importing.batch_losses import BatchCall

_KINDS = 8  # kinds of shapes that are tried at most
_TRIED = 10  # samples of each, besides those in which two candidates differ most
_DISTINCT = 24  # values of each tensor of whole numbers, such as classes, a sample of each of which is tried
_CHUNK = 4096  # samples whose weights are counted at a time
_MOVE = 0.2  # of a weight's mean magnitude
_SAME = 1e-9  # relative, of counts


@dataclass(frozen=True)
class Weight:
    """How much a sample counts.

    Attributes:
        field: of which tensor numbers are counted; None: samples count alike.
        name: of that tensor.
        passed_over: the number that does not count; None: numbers are added up.
        shifted: whether the first along the last dimension is left out, as where the next token is predicted.
    """

    field: int | None = None
    name: str = ""
    passed_over: float | None = None
    shifted: bool = False

    def of(self, tensors: Sequence[Tensor]) -> Tensor:
        """Of samples with these tensors, n x …: (n,), float64."""
        if self.field is None:
            return torch.ones(len(tensors[0]), dtype=torch.float64, device=tensors[0].device)
        chosen = tensors[self.field]
        chosen = chosen[..., 1:] if self.shifted else chosen
        counted = chosen if self.passed_over is None else chosen != self.passed_over
        return counted.double().flatten(1).sum(dim=1) if chosen.dim() > 1 else counted.double()

    @property
    def text(self) -> str:
        """For messages."""
        if self.field is None:
            return "samples count alike"
        rest = " without the first of each row" if self.shifted else ""
        if self.passed_over is None:
            return f"a sample counts as the sum of {self.name}{rest}"
        return f"a sample counts as how many of {self.name} are not {self.passed_over:g}{rest}"


def own_weight(call: "BatchCall", network: nn.Module, rows: Tensor, hint: str) -> Weight:
    """How a function that returns one number for a batch weighs the samples.

    Args:
        call: with the function and the rows' structure.
        network: in evaluation mode; it stays as it is.
        rows: all samples.
        hint: what to do where nothing fits.

    Raises:
        ExperimentError: no usual weights give its number, or several that differ do.
    """
    known = list(_candidates(call.rows, rows))
    if _has_padding(call.rows, rows):
        known = [pair for pair in known if not _follows_from_shapes(pair[1], call.rows.alike(rows))]
    trials = list(_trials(call, network, rows, [weights for _, weights in known]))
    left = [weight for weight, weights in known if all(trial.fits(weights) for trial in trials)]
    if len(left) == 1:
        tell(
            f"the loss {call.name} averages over a batch by itself, and is asked for each sample alone;"
            " one that returns values and weights of the samples is faster"
        )
        return left[0]
    if not left:
        worst = max(trials, key=lambda trial: trial.off(known[0][1]))
        raise ExperimentError(
            f"the loss {call.name} gives {worst.number:.6g} for {len(worst.places)} samples at once, and"
            " the mean"
            f" of its numbers for each alone is {worst.ratio(known[0][1]):.6g}: how it weighs samples is"
            f" none of {len(known)} usual ways, or a sample's loss depends on the others in its batch; {hint}"
        )
    raise ExperimentError(
        f"how the loss {call.name} weighs samples cannot be seen: {left[0].text}, or {left[1].text}, and"
        " these"
        f" are different means over all samples; {hint}; or, where samples have several lengths, hand over a"
        " DataLoader whose collate_fn pads them"
    )


@dataclass(frozen=True)
class _Trial:
    """What the function gives for some samples at once, and for each alone."""

    places: Tensor
    number: float
    alone: Tensor
    tolerance: float

    def ratio(self, weights: Tensor) -> float:
        """The mean of what each has alone, with these weights of all samples."""
        own = weights[self.places]
        kept = own > 0
        return float((own[kept] * self.alone[kept]).sum() / own[kept].sum())

    def off(self, weights: Tensor) -> float:
        """How far that is from the function's own number; 0 where both are no numbers."""
        ratio = self.ratio(weights)
        if math.isnan(ratio) or math.isnan(self.number):
            return 0.0 if math.isnan(ratio) and math.isnan(self.number) else math.inf
        return abs(ratio - self.number)

    def fits(self, weights: Tensor) -> bool:
        return self.off(weights) <= self.tolerance


def _trials(call: "BatchCall", network: nn.Module, rows: Tensor, weights: list[Tensor]) -> Iterator[_Trial]:
    exact = _works(call, copied(network).double(), rows)
    for moved in (False, True):
        own = copied(network).double() if exact else copied(network)
        if moved:
            _move(own)
        for places in _chosen(call.rows, rows, weights):
            [part] = call.parts(own, rows[places])
            yield from _compared(call, own, part, places, 1e-9 if exact else 2e-5)


def _compared(
    call: "BatchCall", network: nn.Module, part: Part, places: Tensor, accuracy: float
) -> Iterator[_Trial]:
    singles = [_without_gradients(call, network, part, [place]) for place in range(len(places))]
    alone = torch.tensor(singles, dtype=torch.float64)
    finite = alone[alone.isfinite()].abs()
    tolerance = accuracy * (float(finite.max()) if len(finite) else 1.0)
    batches = [list(range(len(places)))] + [[place, place + 1] for place in range(len(places) - 1)]
    for chosen in batches:
        number = _without_gradients(call, network, part, chosen)
        yield _Trial(places[chosen], number, alone[chosen], tolerance)


def _without_gradients(call: "BatchCall", network: nn.Module, part: Part, chosen: list[int]) -> float:
    """The function's one number for some samples."""
    return float(without_gradients(network, lambda: call.one_number(network, part, chosen)).detach())


def _works(call: "BatchCall", network: nn.Module, rows: Tensor) -> bool:
    """Whether network and function compute in float64."""
    try:
        part = call.parts(network, rows[:1])[0]
        found = without_gradients(network, lambda: call.one_number(network, part, [0]))
    except ExperimentError:
        return False
    return found.dtype == torch.float64


def _move(network: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.is_floating_point():
            size = float(parameter.detach().abs().mean() or 1)
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data = parameter.detach() + (_MOVE * size * noise).to(parameter)


def _chosen(rows: Rows, packed: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """Places of a few samples of each of some kinds: from everywhere, those whose weights are the least and
    the greatest, and one with each class, which may be rare.
    """
    kinds = sorted(rows.alike(packed), key=len, reverse=True)
    several = [kind for kind in kinds if len(kind) > 1] or kinds
    return [
        torch.cat([_some(kind, weights), _distinct(rows, packed, kind)]).unique() for kind in several[:_KINDS]
    ]


def _distinct(rows: Rows, packed: Tensor, places: Tensor) -> Tensor:
    """The first of these places for each of the first values of every tensor of whole numbers."""
    found: list[dict[int, int]] = [{} for _ in rows.fields]
    for chunk in places.split(_CHUNK):
        [part] = rows.parts(packed[chunk])
        for known, field, tensor in zip(found, rows.fields, part.tensors, strict=True):
            if field.dtype.is_floating_point or field.dtype.is_complex or not tensor.numel():
                continue
            each = tensor.flatten(1) if tensor.dim() > 1 else tensor[:, None]
            for value in set(each.unique()[:_DISTINCT].tolist()) - set(known):
                if len(known) < _DISTINCT:
                    known[value] = int(chunk[(each == value).any(dim=1).nonzero()[0, 0]])
    return torch.tensor([place for known in found for place in known.values()], dtype=torch.int64)


def _some(places: Tensor, weights: list[Tensor]) -> Tensor:
    spread = torch.linspace(0, len(places) - 1, min(_TRIED, len(places)), dtype=torch.float64).long()
    chosen = set(spread.tolist())
    for one in weights:
        for other in weights:
            ratio = one[places] / other[places]
            chosen |= {int(ratio.nan_to_num(1, 1, 1).argmin()), int(ratio.nan_to_num(1, 1, 1).argmax())}
    return places[torch.tensor(sorted(chosen))]


def _candidates(rows: Rows, packed: Tensor) -> Iterator[tuple[Weight, Tensor]]:
    """Usual weights, and what they are for all samples (N,); of proportional ones the first."""
    known: list[Tensor] = []
    for weight in _weights(rows, packed):
        found = torch.cat([_of(weight, rows, part) for part in packed.split(_CHUNK)])
        if found.min() < 0 or not found.isfinite().all() or not found.sum() > 0:
            continue
        shares = found / found.sum()
        if not any(torch.allclose(shares, other, rtol=_SAME, atol=0) for other in known):
            known.append(shares)
            yield weight, found


def _follows_from_shapes(weights: Tensor, kinds: list[Tensor]) -> bool:
    """Whether samples of equal shapes have equal weights, and others have not: where shapes are those of
    padded batches, they say nothing of a sample.
    """
    each = all(bool((weights[kind] == weights[kind[0]]).all()) for kind in kinds)
    return each and bool((weights != weights[0]).any())


def _has_padding(rows: Rows, packed: Tensor) -> bool:
    """Whether samples of equal shapes end, or begin, with different counts of one number."""
    fields = [index for index, field in enumerate(rows.fields) if field.ragged and _is_whole(field)]
    parts = list(rows.parts(packed)) if fields else []
    return any(
        _pads([part.tensors[index] for part in parts], value, last)
        for index in fields
        for value in _passed_over(rows, index, rows.fields[index], packed)
        if value is not None
        for last in (True, False)
    )


def _pads(tensors: Sequence[Tensor], value: float, last: bool) -> bool:
    """Whether that number stands at the end (or the beginning) of rows alone, more or less often."""
    differs = False
    for tensor in tensors:
        here = torch.eq(tensor.flatten(1), value)
        here = here if last else here.flip(1)
        if bool((here[:, :-1] & ~here[:, 1:]).any()):
            return False
        differs = differs or len(here.sum(dim=1).unique()) > 1
    return differs


def _is_whole(field: Field) -> bool:
    return not field.dtype.is_floating_point and bool(field.shape)


def _of(weight: Weight, rows: Rows, packed: Tensor) -> Tensor:
    parts = list(rows.parts(packed))
    found = torch.cat([weight.of(part.tensors) for part in parts])
    return found[torch.cat([part.places for part in parts]).argsort()]


def _weights(rows: Rows, packed: Tensor) -> Iterator[Weight]:
    yield Weight()
    for index, field in enumerate(rows.fields):
        for passed_over in _passed_over(rows, index, field, packed):
            for shifted in (False, True)[: 1 + bool(field.shape)]:
                yield Weight(index, field.name, passed_over, shifted)


def _passed_over(rows: Rows, index: int, field: Field, packed: Tensor) -> list[float | None]:
    """Of whole numbers -100, 0, and those that are there most often, everywhere and at the end: padding,
    perhaps; others are added up.
    """
    if field.dtype.is_floating_point:
        return [None]
    tensors = [part.tensors[index].long() for part in rows.parts(packed[:_CHUNK])]
    tensors = [tensor for tensor in tensors if tensor.numel()]
    often = [torch.cat([tensor.flatten() for tensor in tensors])] if tensors else []
    if tensors and field.shape:
        often.append(torch.cat([tensor[..., -1].flatten() for tensor in tensors]))
    return list(dict.fromkeys([float(IGNORED), 0.0, *(float(each.mode().values) for each in often)]))
