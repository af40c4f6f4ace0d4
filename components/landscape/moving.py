"""Which parameters of a network move: those of its planes, its curvature, its norms and its count."""

from torch import Tensor, nn

from lossmap.components.core.errors import ExperimentError

_SHOWN = 4


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


def count_parameters(network: nn.Module) -> int:
    """How many numbers move.

    Raises:
        ExperimentError: as of moving_parameters.
    """
    return sum(parameter.numel() for parameter in moving_parameters(network).values())


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _is_number(parameter: Tensor) -> bool:
    return parameter.is_floating_point() or parameter.is_complex()
