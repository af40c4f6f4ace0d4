"""What functions and element-wise modules do to channels."""

import operator
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import fx, nn

from lossmap.components.landscape.connectivity.channels import Flow, Followed

# f(r x) = r f(x) for every r > 0, for each number by itself
_HOMOGENEOUS = {
    *(nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(
        F.relu,
        F.relu_,
        torch.relu,
        torch.relu_,
        F.leaky_relu,
        F.dropout,
        F.dropout1d,
        F.dropout2d,
        F.dropout3d,
        torch.abs,
        torch.clone,
    ),
    *("relu", "relu_", "abs", "clone", "contiguous", "detach", "float", "double"),
}
_ELEMENTWISE = {
    *(
        nn.ELU,
        nn.CELU,
        nn.SELU,
        nn.GELU,
        nn.SiLU,
        nn.Mish,
        nn.Sigmoid,
        nn.Tanh,
        nn.Softplus,
        nn.Softsign,
        nn.LogSigmoid,
        nn.ReLU6,
    ),
    *(nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid),
    *(
        F.elu,
        F.celu,
        F.selu,
        F.gelu,
        F.silu,
        F.mish,
        F.sigmoid,
        F.tanh,
        F.softplus,
        F.softsign,
        F.logsigmoid,
        F.relu6,
        F.hardtanh,
    ),
    *(
        F.hardswish,
        F.hardsigmoid,
        torch.sigmoid,
        torch.tanh,
        torch.exp,
        torch.sin,
        torch.cos,
        "sigmoid",
        "tanh",
        "exp",
        "sin",
        "cos",
    ),
}
# for each channel by itself, over its pixels, and homogeneous
_POOLS = {
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.Upsample),
    *(
        nn.AdaptiveAvgPool1d,
        nn.AdaptiveAvgPool2d,
        nn.AdaptiveAvgPool3d,
        nn.AdaptiveMaxPool1d,
        nn.AdaptiveMaxPool2d,
        nn.AdaptiveMaxPool3d,
    ),
    *(F.max_pool1d, F.max_pool2d, F.max_pool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.interpolate),
    *(
        F.adaptive_avg_pool1d,
        F.adaptive_avg_pool2d,
        F.adaptive_avg_pool3d,
        F.adaptive_max_pool1d,
        F.adaptive_max_pool2d,
        F.adaptive_max_pool3d,
    ),
}
_SUMS = {
    operator.add,
    operator.iadd,
    operator.sub,
    operator.isub,
    torch.add,
    torch.sub,
    "add",
    "add_",
    "sub",
    "sub_",
}
_PRODUCTS = {
    operator.mul,
    operator.imul,
    operator.truediv,
    torch.mul,
    torch.div,
    "mul",
    "mul_",
    "div",
    "div_",
}
_FLATTENINGS = {nn.Flatten, torch.flatten, "flatten"}
_MEANS = {torch.mean, "mean"}


def after_function(node: fx.Node, inputs: list[Flow]) -> Followed:
    """The channels of what a function or a method returns, if it is understood.

    Args:
        node: of the traced graph.
        inputs: those of its arguments whose channels are followed, at least one.
    """
    target = node.target
    if target in _SUMS or target in _PRODUCTS:
        return _arithmetic(node, inputs, target in _SUMS)
    if len(inputs) != 1 or not isinstance(node.args[0], fx.Node):
        return None
    if target in _FLATTENINGS:
        return after_flattening(inputs[0], *_arguments(node, start_dim=0, end_dim=-1))
    if target in ("view", "reshape"):
        return after_flattening(inputs[0], 1, -1) if _keeps_only_the_batch(node.args[1:]) else None
    if target in _MEANS:
        return _mean(inputs[0], *_arguments(node, dim=None, keepdim=False))
    return by_channel(target, inputs[0]) if len(node.all_input_nodes) == 1 else None


def by_channel(operation: object, source: Flow) -> Followed:
    """The channels behind an operation, a module's type or a function, that treats each of them by itself."""
    if operation in _HOMOGENEOUS or (operation in _POOLS and source.spatial):
        return source
    if operation in _ELEMENTWISE:
        source.scale.root().fixed = True
        return source
    return None


def _arithmetic(node: fx.Node, inputs: list[Flow], is_sum: bool) -> Followed:
    """a + b and a b, of tensors with the same channels or of a tensor and a number."""
    one, two = inputs[0], inputs[-1]
    numbers = [value for value in node.args[:2] if isinstance(value, int | float)]
    if len(inputs) == 2:
        if (one.space.channels, one.spatial, one.flattened) != (
            two.space.channels,
            two.spatial,
            two.flattened,
        ):
            return None
        one.space.join(two.space)
        one.scale.join(two.scale)
    elif len(node.all_input_nodes) == 1 and node.args[0] is node.args[1]:
        numbers = []
    elif not numbers or len(node.all_input_nodes) != 1:
        return None
    inverse = node.target is operator.truediv and not isinstance(node.args[0], fx.Node)
    commutes = not numbers if is_sum else bool(numbers) and not inverse
    one.scale.root().fixed |= not commutes
    return one


def after_flattening(source: Flow, start: object, end: object) -> Followed:
    """The channels behind N x C x … to N x (C …)."""
    if (start, end) != (1, -1) or not source.spatial:
        return None
    return replace(source, spatial=0, flattened=True)


def _mean(source: Flow, dimensions: object, keep: object) -> Followed:
    """The mean over all pixels."""
    given = sorted(dimensions) if isinstance(dimensions, tuple | list) else [dimensions]
    pixels = range(2, 2 + source.spatial), range(-source.spatial, 0)
    if not source.spatial or given not in [list(each) for each in pixels]:
        return None
    return source if keep else replace(source, spatial=0)


def _arguments(node: fx.Node, **defaults: object) -> list[object]:
    given = dict(zip(defaults, node.args[1:], strict=False))
    return [given.get(name, node.kwargs.get(name, default)) for name, default in defaults.items()]


def _keeps_only_the_batch(shape: Sequence[object]) -> bool:
    """Whether a new shape is (x.shape[0], -1), however it is written."""
    given = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else list(shape)
    return bool(given[1:] == [-1]) and isinstance(given[0], fx.Node) and _is_batch(given[0])


def _is_batch(node: fx.Node) -> bool:
    source = node.args[0]
    if node.op == "call_method":
        return node.target == "size" and bool(node.args[1:] == (0,))
    return (
        node.target is operator.getitem
        and bool(node.args[1] == 0)
        and isinstance(source, fx.Node)
        and only_reads_the_shape(source)
    )


def only_reads_the_shape(node: fx.Node) -> bool:
    """Whether a node asks for sizes and touches no value."""
    return (node.op == "call_method" and node.target in ("size", "dim")) or bool(
        node.target is getattr and node.args[1] == "shape"
    )
