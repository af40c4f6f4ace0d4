"""Frozen BatchNorm folded into the convolution before it: a survey then pays for one layer instead of two."""

from collections.abc import Iterator

import torch
from torch import fx, nn

from lossmap.components.landscape.evaluator import Directions


def fold_batch_norm(network: nn.Module, directions: Directions) -> Directions:
    """Fold where it is exact, in place; returns the directions of what is then left.

    With running statistics, norm(W * x) = s (W * x) + (b - s m), where s = gamma / sqrt(variance + eps), m
    the running mean and b the shift. A direction that leaves gamma and b alone moves W alone, and s (W + t d)
    = s W + t s d: scaling W and d once by s serves every point of the surface. A pair is folded if the
    convolution feeds that norm only, has no bias, and no direction moves the norm.

    Args:
        network: in evaluation mode from now on.
        directions: of its parameters by name.
    """
    moved = [dict(direction) for direction in directions]
    for name, convolution, norm_name, norm in list(_pairs(network.eval(), directions)):
        if norm.running_mean is None or norm.running_var is None:
            continue
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        shape = (-1, *[1] * (convolution.weight.dim() - 1))
        shift = norm.bias.double() - scale * norm.running_mean.double()
        convolution.weight.data = (convolution.weight.double() * scale.view(shape)).float()
        convolution.bias = nn.Parameter(shift.float())
        network.set_submodule(norm_name, nn.Identity())
        for direction in moved:
            direction[f"{name}.weight"] = (direction[f"{name}.weight"].double() * scale.view(shape)).float()
            direction[f"{name}.bias"] = torch.zeros_like(convolution.bias)
            del direction[f"{norm_name}.weight"], direction[f"{norm_name}.bias"]
    return moved[0], moved[1]


def _pairs(
    network: nn.Module, directions: Directions
) -> Iterator[tuple[str, nn.Conv2d, str, nn.BatchNorm2d]]:
    """Names and modules of each convolution and norm that can be folded; none in a network whose data flow
    cannot be traced.
    """
    try:
        nodes = list(fx.Tracer().trace(network).nodes)
    except (RuntimeError, TypeError, ValueError):  # as many as there are things that fx cannot trace
        return
    calls = [str(node.target) for node in nodes if node.op == "call_module"]
    for node in nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        name, norm_name = str(source.target), str(node.target)
        convolution, norm = network.get_submodule(name), network.get_submodule(norm_name)
        if (
            not isinstance(convolution, nn.Conv2d)
            or not isinstance(norm, nn.BatchNorm2d)
            or convolution.bias is not None
        ):
            continue
        if calls.count(name) == calls.count(norm_name) == 1 and not _moves(directions, norm_name):
            yield name, convolution, norm_name, norm


def _moves(directions: Directions, norm_name: str) -> bool:
    return any(
        bool(direction[f"{norm_name}.{part}"].any())
        for direction in directions
        for part in ("weight", "bias")
    )
