"""How channels flow through a traced network: which parameters write them, and which read them."""

import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from lossmap.components.landscape.connectivity.channels import Channels, Column, Flow, Followed
from lossmap.components.landscape.connectivity.operations import (
    after_flattening,
    after_function,
    by_channel,
    only_reads_the_shape,
)

# dimensions after the channel's in what they return
_LAYERS: dict[type[nn.Module], int] = {nn.Linear: 0, nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
_NORMS: dict[type[nn.Module], int] = {nn.BatchNorm1d: 0, nn.BatchNorm2d: 2, nn.BatchNorm3d: 3}


def trace_channels(network: nn.Module, nodes: Sequence[fx.Node]) -> tuple[list[Channels], list[Channels]]:
    """The spaces and the scales of a network's channels, each once.

    Args:
        network: in evaluation mode.
        nodes: of its traced graph, in order.
    """
    tracing = _Tracing(network, nodes)
    flows: dict[fx.Node, Followed] = {}
    for node in nodes:
        flows[node] = tracing.follow(node, flows)
    return _roots(tracing.spaces), _roots(tracing.scales)


def _roots(spaces: list[Channels]) -> list[Channels]:
    return list(dict.fromkeys(space.root() for space in spaces))


class _Tracing:
    def __init__(self, network: nn.Module, nodes: Sequence[fx.Node]):
        self.spaces: list[Channels] = []
        self.scales: list[Channels] = []
        self._network = network
        self._shared = _shared_tensors(network, nodes)

    def follow(self, node: fx.Node, flows: dict[fx.Node, Followed]) -> Followed:
        """The channels of a node's result; notes which parameters write and read which channels."""
        inputs = [flow for source in node.all_input_nodes if (flow := flows[source]) is not None]
        if node.op == "call_module":
            source = node.args[0] if node.args else None
            result = self._module(
                str(node.target),
                flows[source] if isinstance(source, fx.Node) else None,
                len(node.all_input_nodes),
            )
        elif node.op in ("call_function", "call_method") and inputs:
            result = after_function(node, inputs)
        else:
            result = None
        understood = result is not None or (node.op != "output" and only_reads_the_shape(node))
        for flow in inputs if not understood else ():
            flow.fix()
        return result

    def _module(self, name: str, source: Followed, arguments: int) -> Followed:
        module = self._network.get_submodule(name)
        if (
            arguments != 1
            or _is_computed(module)
            or any(id(tensor) in self._shared for tensor in module.state_dict(keep_vars=True).values())
        ):
            return None
        if isinstance(module, nn.Linear | _ConvNd) and type(module) in _LAYERS:
            return self._layer(name, module, source)
        if isinstance(module, _BatchNorm) and type(module) in _NORMS:
            return self._norm(name, module, source)
        if source is None:
            return None
        if isinstance(module, nn.Flatten):
            return after_flattening(source, module.start_dim, module.end_dim)
        return by_channel(type(module), source)

    def _layer(self, name: str, layer: nn.Linear | _ConvNd, source: Followed) -> Followed:
        outputs, inputs = layer.weight.shape[:2]
        spatial, groups = _LAYERS[type(layer)], getattr(layer, "groups", 1)
        rows = [f"{name}.{part}" for part in ("weight", "bias") if getattr(layer, part) is not None]
        if source is not None and (source.spatial != spatial or (source.flattened and spatial)):
            return None
        if groups > 1:
            if source is None or not groups == outputs == source.space.channels:
                return None
            return _depthwise(rows, source)
        if source is not None:
            column = Column(f"{name}.weight", inputs // source.space.channels)
            source.space.root().columns.append(column)
            source.scale.root().columns.append(column)
        return self._new(outputs, rows, spatial)

    def _norm(self, name: str, norm: _BatchNorm, source: Followed) -> Followed:
        affine = [f"{name}.{part}" for part in ("weight", "bias") if getattr(norm, part) is not None]
        statistics = [
            f"{name}.{part}" for part in ("running_mean", "running_var") if getattr(norm, part) is not None
        ]
        if source is None:
            return self._norm_of_unknown(norm, affine)
        if source.flattened or source.space.channels != norm.num_features:
            return None
        source.space.root().rows.extend(affine + statistics)
        source.scale.root().norms.append(name)
        source.scale.root().fixed |= not statistics
        scale = Channels(source.space.channels, list(affine), fixed=not affine)
        self.scales.append(scale)
        return replace(source, scale=scale)

    def _norm_of_unknown(self, norm: _BatchNorm, affine: list[str]) -> Followed:
        """A norm's scale is its own even where its channels are bound to places, as behind a
        concatenation.
        """
        if not affine or type(norm) is nn.BatchNorm1d:
            return None
        flow = self._new(norm.num_features, affine, _NORMS[type(norm)])
        flow.space.fixed = True
        return flow

    def _new(self, channels: int, rows: list[str], spatial: int) -> Flow:
        flow = Flow(Channels(channels, list(rows)), Channels(channels, list(rows)), spatial)
        self.spaces.append(flow.space)
        self.scales.append(flow.scale)
        return flow


def _is_computed(module: nn.Module) -> bool:
    """Whether weight or bias are no parameters, but made from others before each use (pruning, spectral
    norm).
    """
    return bool({"weight", "bias"} & vars(module).keys())


def _shared_tensors(network: nn.Module, nodes: Sequence[fx.Node]) -> set[int]:
    """Ids of tensors that are used more than once, or have more than one name."""
    used: Counter[int] = Counter()
    for node in nodes:
        if node.op == "call_module":
            used.update(
                id(tensor)
                for tensor in network.get_submodule(str(node.target)).state_dict(keep_vars=True).values()
            )
        elif node.op == "get_attr":
            used[id(operator.attrgetter(str(node.target))(network))] += 1
    named = Counter(id(tensor) for tensor in network.state_dict(keep_vars=True).values())
    return {tensor for counts in (used, named) for tensor, count in counts.items() if count > 1}


def _depthwise(rows: list[str], source: Flow) -> Flow:
    """One filter for each channel: its rows are permuted with the channels. Its scales are left alone."""
    source.space.root().rows.extend(rows)
    source.scale.root().fixed = True
    return source
