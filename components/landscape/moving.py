"""Which parameters of a network move: those of its planes, its curvature, its norms and its count."""

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from lossmap.components.core.errors import ExperimentError

_SHOWN = 4
_SHOWN_PARTS = 12


def moving_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require a gradient, by name; all where none does. A parameter with several names
    has its first one. Frozen layers stay where they are; so do integers, which have no derivative.

    Raises:
        ExperimentError: there are none, or some are complex.
    """
    own = {name: each for name, each in network.named_parameters() if _is_number(each)}
    chosen = {name: each for name, each in own.items() if each.requires_grad} or own
    if not chosen:
        raise ExperimentError(
            f"the network {type(network).__name__} has no parameters that can be moved, expected at least one"
            " of floating point; a quantized, a frozen TorchScript or an exported network keeps its weights"
            " elsewhere: survey the network that it was made from"
        )
    if complex_ones := [name for name, each in chosen.items() if each.is_complex()]:
        raise ExperimentError(
            f"the network {type(network).__name__} has complex parameters ({listed(complex_ones)}), expected"
            " real ones; keep real and imaginary part as a real parameter, and use it by"
            " torch.view_as_complex"
        )
    return chosen


def frozen_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that stay where they are, by name."""
    moving = moving_parameters(network)
    return {name: each for name, each in network.named_parameters() if name not in moving}


def matching_parameters(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Names of the moving parameters that some pattern matches, in the network's order.

    A pattern is that of file names (*, ?, [abc]), and matches the name of a parameter or of a layer that
    holds it; a parameter with several names is found by each of them.

    Raises:
        ExperimentError: a pattern matches no parameter, or only frozen ones.
    """
    moving = moving_parameters(network)
    first = {id(parameter): name for name, parameter in moving.items()}
    names = dict(network.named_parameters(remove_duplicate=False))
    chosen = set()
    for pattern in patterns:
        matched = [name for name in names if _matches(name, pattern)]
        found = {first[id(names[name])] for name in matched if id(names[name]) in first}
        if not found:
            raise ExperimentError(_unmatched(network, pattern, matched))
        chosen |= found
    return [name for name in moving if name in chosen]


def layer_parameters(network: nn.Module) -> dict[str, list[str]]:
    """Names of the moving parameters by the layer that holds them; one outside of layers by its own name."""
    layers: dict[str, list[str]] = {}
    for name in moving_parameters(network):
        layers.setdefault(name.rpartition(".")[0] or name, []).append(name)
    return layers


def _matches(name: str, pattern: str) -> bool:
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))


def _unmatched(network: nn.Module, pattern: str, frozen: list[str]) -> str:
    text, kind = f"landscape.curvature.parameters has {pattern!r}, which matches", type(network).__name__
    if frozen:
        return (
            f"{text} only frozen parameters of the network {kind} ({listed(frozen)}), expected some that"
            f" move: {_described(network)}"
        )
    return f"{text} no parameter of the network {kind}, expected some of {_described(network)}"


def _described(network: nn.Module) -> str:
    """What moves: the network's parts, with the number of parameters in each."""
    counts = Counter(name.partition(".")[0] for name in moving_parameters(network))
    parts = [f"{part}.* ({count})" if count > 1 else part for part, count in counts.items()]
    return listed(parts, _SHOWN_PARTS)


def count_parameters(network: nn.Module) -> int:
    """How many numbers move.

    Raises:
        ExperimentError: as of moving_parameters.
    """
    return sum(parameter.numel() for parameter in moving_parameters(network).values())


def listed(names: list[str], shown: int = _SHOWN) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _is_number(parameter: Tensor) -> bool:
    return parameter.is_floating_point() or parameter.is_complex()
