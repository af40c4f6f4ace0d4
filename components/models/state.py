"""Weights from files that other programs wrote, put into a network."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lossmap.components.core.errors import ExperimentError
from lossmap.components.models.checkpoint_file import TOP, Checkpoint
from lossmap.components.models.fit import Fit, fits, same_values

_SHOWN = 4
_IS_PART = re.compile(r"-\d+-of-\d+\.\w+$")
_PARTS = "it is one of several parts: give their index, the file beside it that ends in .index.json"


def load_state(network: nn.Module, checkpoint: Checkpoint, name: str, option: str = "--weights") -> list[str]:
    """Put the one set of weights that fits into the network, in its own type, and say what was chosen or left
    aside, in a line each.

    Args:
        network: gets the weights.
        checkpoint: tensors by name.
        name: of the file, for messages.
        option: of the command line that gave it.

    Raises:
        ExperimentError: nothing fits, with the names that are missing, unexpected or of another shape; or
            more than one set of weights does, with their keys.
    """
    own = network.state_dict(keep_vars=True)
    own = {key: value for key, value in own.items() if isinstance(value, Tensor)}
    found = fits(own, checkpoint)
    whole = [fit for fit in found if fit.complete]
    if not whole:
        raise ExperimentError(_misfit(type(network).__name__, own, checkpoint, found[:1], name))
    fit = whole[0]
    others = [other for other in whole[1:] if not same_values(fit, other, checkpoint.tensors)]
    if others:
        keys = _keys([fit, *others])
        raise ExperimentError(
            f"{name} holds {len(keys)} sets of weights that fit the network {type(network).__name__}:"
            f" {', '.join(keys)}; choose one: {option} {name}:{keys[0]}"
        )
    _check_tied(own, fit, checkpoint, name)
    network.load_state_dict({mine: checkpoint.tensors[key] for mine, key in fit.taken.items()}, strict=False)
    check_finite(network, name)
    return _choice(fit, checkpoint, name)


def check_finite(network: nn.Module, name: str) -> None:
    """Refuse a network with a weight that is NaN or infinite, or a NaN in a buffer, whose loss would be NaN.

    Infinity in a buffer is left, since masks of attention have it.

    Raises:
        ExperimentError: with the name of the tensor, and how many of its values are not finite.
    """
    state = network.state_dict(keep_vars=True)
    tensors = {key: value.detach() for key, value in state.items() if _is_set(value)}
    parameters = {key for key, _ in network.named_parameters(remove_duplicate=False)}
    for key, tensor in tensors.items():
        wrong = ~torch.isfinite(tensor) if key in parameters else torch.isnan(tensor)
        if wrong.any():
            place = ", ".join(map(str, wrong.nonzero()[0].tolist()))
            value = tensor[tuple(wrong.nonzero()[0].tolist())].item()
            raise ExperimentError(
                f"{name} gives the network {key} with {int(wrong.sum())} of {tensor.numel()} values that are"
                f" not finite, first {value} at ({place}), so that its loss is no number; take a checkpoint"
                " from before the training diverged"
            )


def network_bytes(network: nn.Module) -> bytes:
    """Parameters and buffers as safetensors. Tensors that share memory, such as tied weights, are written
    each for itself.
    """
    return save(
        {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in network.state_dict().items()
        }
    )


def _keys(sets: Sequence[Fit]) -> list[str]:
    """What one gives to choose each: the mapping that it lies in, or its prefix where several lie in one."""
    keys = [fit.key for fit in sets]
    return keys if len(set(keys)) == len(keys) else [fit.prefix.rstrip(".") or TOP for fit in sets]


def _is_set(value: Any) -> bool:
    return isinstance(value, Tensor) and not is_lazy(value)


def _check_tied(own: Mapping[str, Any], fit: Fit, checkpoint: Checkpoint, name: str) -> None:
    first: dict[int, str] = {}
    for mine, key in fit.taken.items():
        other = first.setdefault(id(own[mine]), mine)
        if other != mine and not torch.equal(checkpoint.tensors[key], checkpoint.tensors[fit.taken[other]]):
            raise ExperimentError(
                f"{other} and {mine} are one tensor in the network and differ in {name}; give a factory that"
                " does not tie them, or a file with one of them"
            )


def _choice(fit: Fit, checkpoint: Checkpoint, name: str) -> list[str]:
    lines = []
    inside = fit.own.removeprefix("module.")  # of DataParallel
    if len(checkpoint.keys()) > 1 or inside or fit.prefix.count(".") > fit.key.count(".") + 1:
        place = f" as {fit.own}*" if inside else ""
        lines.append(f"weights are {fit.prefix}* of {name}{place}")
    if fit.aside:
        lines.append(f"left aside in {name}: {_listed(fit.aside)}")
    return lines


def _misfit(
    kind: str, own: Mapping[str, Any], checkpoint: Checkpoint, nearest: Sequence[Fit], name: str
) -> str:
    if not nearest:
        return (
            f"{name} does not fit the network {kind}: the network has {_listed(list(own))}; the file has"
            f" {_listed(list(checkpoint.tensors))}; {_renaming(own, checkpoint)}"
        )
    fit = nearest[0]
    tensors = {mine: checkpoint.tensors[key] for mine, key in fit.taken.items()}
    told = {
        "missing": fit.missing,
        "unexpected": fit.unexpected,
        "of another shape": [
            f"{key} is {_shape(tensors[key])}, not {_shape(own[key])}" for key in fit.shapes
        ],
        "of another type": [f"{key} is {_type(tensors[key])}, not {_type(own[key])}" for key in fit.types],
    }
    after = f" after {fit.prefix}" if fit.prefix else ""
    found = f"all its names are there{after}" if not fit.missing else f"nearest are the names{after}"
    where = f" ({found})" if after or not fit.missing else ""
    what = "; ".join(f"{word}: {_listed(names)}" for word, names in told.items() if names)
    cure = _PARTS if _IS_PART.search(name) else _cure(fit, own, tensors)
    return f"{name} does not fit the network {kind}{where}: {what}; {cure}"


def _cure(fit: Fit, own: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    if fit.missing or fit.unexpected:
        return "take the factory that wrote the file, or set its arguments by model.arguments"
    if fit.types:
        return "write the weights as floating-point numbers, from the network that they are loaded in"
    layers = {key.rpartition(".")[0] for key in fit.shapes}
    if len(layers) == 1 and all(tensors[key].shape[1:] == own[key].shape[1:] for key in fit.shapes):
        outputs = len(tensors[fit.shapes[0]])
        example = f"--factory-arguments '{{\"num_classes\": {outputs}}}'"
        return (
            f"only the layer {next(iter(layers))} differs, which has {outputs} outputs in the file: set the"
            f" factory's number by model.arguments, such as {example}"
        )
    return "set the factory's arguments by model.arguments"


def _renaming(own: Mapping[str, Any], checkpoint: Checkpoint) -> str:
    shapes = [value.shape for value in own.values() if not is_lazy(value)]
    if shapes == [tensor.shape for tensor in checkpoint.tensors.values()]:
        return "all shapes agree in their order, so only the names differ: rename them in the file"
    return "none of the names agree: take the file of this network, or the factory that wrote the file"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
