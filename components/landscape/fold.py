"""Frozen BatchNorm folded into the convolution before it: one then pays for one layer instead of two."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from lossmap.components.core.copies import copied
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.calls import called
from lossmap.components.landscape.evaluator import Directions, tensors
from lossmap.components.landscape.forward import without_gradients
from lossmap.components.landscape.objective import Problem
from lossmap.components.landscape.outputs import are_close

_SAMPLES = 4
_POINTS = 2  # of the plane, besides its centre
_SEED = 7
_NEARNESS = 0.02  # standard deviation of what is added to each parameter
_TOLERANCE = 1e-6  # of the largest output, in float64: far above rounding, far below what another layer does

Pair = tuple[str, str]  # names of a convolution and of the norm behind it


def foldable_pairs(problem: Problem, directions: Directions) -> tuple[Pair, ...]:
    """Names of each convolution and of the BatchNorm behind it that can be folded into it exactly.

    A pair can be folded if the convolution feeds that norm only, has no bias, and no direction moves the
    norm. Which pairs there are is read from a traced copy, and a user's network may do more than a trace
    shows. Therefore a folded copy is compared with the network, in float64, at the centre and at two random
    points of the plane; where any output differs by more than 1e-6 of the largest, or anything fails, there
    is no pair. The answer is the same in every process.

    Args:
        problem: with the network in evaluation mode, which is left as it is.
        directions: of its parameters by name.
    """
    # whatever a user's network does when it is copied, traced, or called in float64
    with suppress(Exception):
        pairs = tuple(_pairs(problem.network, directions))
        network = copied(problem.network)
        folded = _folded(network, directions, pairs)
        if pairs and _is_finite(network, folded) and _is_exact(problem, directions, pairs):
            return pairs
    return ()


def fold_batch_norm(
    problem: Problem, directions: Directions, pairs: Sequence[Pair]
) -> tuple[Problem, Directions]:
    """The problem and the directions with BatchNorm folded.

    With running statistics, norm(W * x) = s (W * x) + (b - s m), where s = gamma / sqrt(variance + eps), m
    the running mean and b the shift; gamma is 1 and b is 0 in a norm without them. A direction that leaves
    gamma and b alone moves W alone, and s (W + t d) = s W + t s d: scaling W and d once by s serves every
    point of the surface.

    Args:
        problem: with the network in evaluation mode, which is left as it is.
        directions: of its parameters by name.
        pairs: of foldable_pairs; without any, everything stays as it is.
    """
    if not pairs:
        return problem, directions
    network = copied(problem.network)
    folded = _folded(network, directions, pairs)
    return replace(problem, network=network), folded


def differentiable_fold(problem: Problem) -> Problem:
    """The problem with a network that is the same function of the same parameters and buffers, and folds
    BatchNorm at every call: W and s as above are themselves functions of them, so that all derivatives stay
    what they are, by the chain rule, and no BatchNorm is left in their graphs.

    As it is where foldable pairs are none, or where the two networks differ, in float64, at its own
    parameters or at either of two random ones close by.

    Args:
        problem: with the network in evaluation mode, which is left as it is.
    """
    with suppress(Exception):  # as in foldable_pairs
        pairs = tuple(_pairs(problem.network, ({}, {})))
        if pairs and _is_same_function(problem, pairs):
            return replace(problem, network=_folding(copied(problem.network), pairs))
    return problem


def _folding(network: nn.Module, pairs: Sequence[Pair]) -> nn.Module:
    """The network itself, in evaluation mode, which from now on folds the pairs at every call."""
    shadow = copied(network)
    for name, norm_name in pairs:
        convolution = cast(nn.Conv2d, shadow.get_submodule(name))
        convolution.bias = nn.Parameter(torch.empty(convolution.out_channels))
        shadow.set_submodule(norm_name, nn.Identity())

    def forward(*arguments: Any, **named: Any) -> Any:
        own = tensors(network)
        for name, norm_name in pairs:
            weight, parts = own[f"{name}.weight"], _parts(own, norm_name)
            norm = cast(nn.BatchNorm2d, network.get_submodule(norm_name))
            scale = parts["weight"] * torch.rsqrt(parts["running_var"] + norm.eps)
            own[f"{name}.weight"] = weight * scale.view(-1, *[1] * (weight.dim() - 1))
            own[f"{name}.bias"] = parts["bias"] - scale * parts["running_mean"]
        return functional_call(shadow, own, arguments, named)

    network.forward = forward
    return network


def _parts(own: dict[str, Tensor], norm_name: str) -> dict[str, Tensor]:
    """Takes the tensors of a norm out; where it has neither scale nor shift, they are 1 and 0."""
    names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    parts = {name: own.pop(f"{norm_name}.{name}") for name in names if f"{norm_name}.{name}" in own}
    mean = parts["running_mean"]
    return {"weight": torch.ones_like(mean), "bias": torch.zeros_like(mean), **parts}


def _is_same_function(problem: Problem, pairs: Sequence[Pair]) -> bool:
    network, folding = (copied(problem.network).eval().double() for _ in range(2))
    _folding(folding, pairs)
    random = torch.Generator().manual_seed(_SEED)
    inputs, own = _inputs(problem), dict(network.named_parameters())
    for nearness in (0.0, *[_NEARNESS] * _POINTS):
        moved = {
            name: weight.detach() + nearness * torch.randn(weight.shape, generator=random).to(weight)
            for name, weight in own.items()
            if weight.is_floating_point()
        }
        here, there = (_called(each, moved, inputs) for each in (folding, network))
        if not are_close(here, there, _TOLERANCE):
            return False
    return True


def _folded(network: nn.Module, directions: Directions, pairs: Sequence[Pair]) -> Directions:
    """Fold in place; returns the directions of what is then left."""
    moved = [dict(direction) for direction in directions]
    for name, norm_name in pairs:
        convolution = cast(nn.Conv2d, network.get_submodule(name))
        norm = cast(nn.BatchNorm2d, network.get_submodule(norm_name))
        scale, shift = _affine(norm)
        scale = scale.view(-1, *[1] * (convolution.weight.dim() - 1))
        kind = convolution.weight.dtype
        convolution.weight.data = (convolution.weight.double() * scale).to(kind)
        convolution.bias = nn.Parameter(shift.to(kind), requires_grad=False)
        network.set_submodule(norm_name, nn.Identity())
        for direction in moved:
            if f"{name}.weight" in direction:
                own = direction[f"{name}.weight"]
                direction[f"{name}.weight"] = (own.double() * scale.to(own.device)).to(own.dtype)
            direction[f"{name}.bias"] = torch.zeros(len(shift))
            for part in ("weight", "bias"):
                direction.pop(f"{norm_name}.{part}", None)
    return moved[0], moved[1]


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """s and b - s m, float64: (C,)."""
    mean, deviation = cast(Tensor, norm.running_mean).double(), _deviation(norm)
    scale = norm.weight.detach().double() / deviation if norm.affine else 1 / deviation
    shift = norm.bias.detach().double() if norm.affine else torch.zeros_like(mean)
    return scale, shift - scale * mean


def _deviation(norm: nn.BatchNorm2d) -> Tensor:
    return (cast(Tensor, norm.running_var).double() + norm.eps).sqrt()


def _pairs(network: nn.Module, directions: Directions) -> Iterator[Pair]:
    """Names of each convolution and norm that can be folded, as a traced copy has them."""
    nodes = list(fx.Tracer().trace(copied(network).eval()).nodes)
    calls = Counter(str(node.target) for node in nodes if node.op == "call_module")
    named = Counter(id(parameter) for _, parameter in network.named_parameters(remove_duplicate=False))
    for node in nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        pair = str(source.target), str(node.target)
        once = calls[pair[0]] == calls[pair[1]] == 1
        if once and _can_be_folded(network, pair, named) and not _moves(directions, pair[1]):
            yield pair


def _can_be_folded(network: nn.Module, pair: Pair, named: Mapping[int, int]) -> bool:
    convolution, norm = map(network.get_submodule, pair)
    plain = _is_plain(convolution, nn.Conv2d, named) and _is_plain(norm, nn.BatchNorm2d, named)
    return plain and convolution.bias is None and norm.running_mean is not None


def _is_plain(module: nn.Module, kind: type[nn.Module], named: Mapping[int, int]) -> bool:
    """Whether it is of that very class, has no hooks, and its parameters are its own, under one name."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    own = "weight" in module._parameters and "bias" in module._parameters
    shared = any(named[id(parameter)] > 1 for parameter in module.parameters())
    return type(module) is kind and own and not hooks and not shared


def _moves(directions: Directions, norm_name: str) -> bool:
    parts = (f"{norm_name}.weight", f"{norm_name}.bias")
    return any(bool(direction[part].any()) for direction in directions for part in parts if part in direction)


def _is_finite(network: nn.Module, directions: Directions) -> bool:
    """Whether nothing has overflowed: a weight near the end of its type, times s."""
    everything = [*network.parameters(), *directions[0].values(), *directions[1].values()]
    return all(bool(tensor.isfinite().all()) for tensor in everything)


def _is_exact(problem: Problem, directions: Directions, pairs: Sequence[Pair]) -> bool:
    inputs = _inputs(problem)
    network, folded = (copied(problem.network).eval().double() for _ in range(2))
    whole = _in_float64(directions, network)
    left = _folded(folded, whole, pairs)
    points = [(0.0, 0.0), *stream("fold").uniform(-1, 1, (_POINTS, 2)).tolist()]
    return all(
        are_close(_outputs(folded, left, point, inputs), _outputs(network, whole, point, inputs), _TOLERANCE)
        for point in points
    )


def _in_float64(directions: Directions, network: nn.Module) -> Directions:
    x, y = ({name: tensor.to(tensors(network)[name]) for name, tensor in each.items()} for each in directions)
    return x, y


def _outputs(
    network: nn.Module, directions: Directions, point: tuple[float, float], inputs: Tensor
) -> Tensor:
    own, (x, y) = tensors(network), directions
    moved = {name: own[name].detach() + point[0] * x[name] + point[1] * y[name] for name in x}
    return _called(network, moved, inputs)


def _inputs(problem: Problem) -> Tensor:
    """A few samples, in float64."""
    inputs = problem.samples.inputs[:_SAMPLES]
    return inputs.double() if inputs.is_floating_point() else inputs


def _called(network: nn.Module, moved: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    def compute() -> Tensor:
        outputs: Tensor = called(network, inputs.clone(), moved)
        return outputs.detach()

    return without_gradients(network, compute)
