"""Weights from files that other programs wrote."""

import io
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.imports import reason

# names under which checkpoints keep the weights beside other things
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
)
_PREFIXES = ("module.", "_orig_mod.", "model.")  # of DistributedDataParallel, torch.compile, Lightning
_SHOWN = 4


def read_state(content: bytes, name: str) -> dict[str, Tensor]:
    """The tensors by name in a .safetensors file, or in what torch.save wrote; nothing in it is ever
    executed.

    Args:
        content: of the file.
        name: of the file; its ending tells the format.

    Raises:
        ExperimentError: it is damaged, holds no weights, or can only be read by pickle.
    """
    try:
        found = load(content) if name.lower().endswith(".safetensors") else _load_without_pickle(content)
    except Exception as error:  # of a damaged file it can be any
        if type(error).__name__ == "UnpicklingError":
            raise ExperimentError(
                f"{name} holds more than tensors, and to read it could run code that is hidden in it; where"
                " you trust it, write its weights alone: torch.save(model.state_dict(), FILE) or"
                " safetensors.torch.save_model(model, FILE)"
            ) from None
        raise ExperimentError(
            f"{name} cannot be read as weights: {reason(error)}; expected .safetensors, or what torch.save"
            " writes of a state dict"
        ) from None
    return _unwrapped(found, name)


def load_state(network: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Put the weights into the network. Every tensor must fit; a prefix that wrappers of networks put before
    all names is taken off.

    Args:
        network: gets the weights, in its own type.
        state: tensors by name.
        name: of the file, for messages.

    Raises:
        ExperimentError: with the names that are missing, unexpected, or of another shape.
    """
    own = network.state_dict(keep_vars=True)
    state = _without_prefix(state, own)
    shared = {id(own[key]) for key in state if key in own}  # of tied tensors, files often hold one
    missing = [
        key
        for key in own
        if key not in state and id(own[key]) not in shared and not key.endswith("num_batches_tracked")
    ]
    unexpected = [key for key in state if key not in own]
    other = [
        f"{key} is {_shape(state[key])}, not {_shape(own[key])}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    told = [
        _listed("missing", missing),
        _listed("unexpected", unexpected),
        _listed("of another shape", other),
    ]
    if any(told):
        kind = type(network).__name__
        raise ExperimentError(
            f"{name} does not fit the network {kind}: {'; '.join(filter(None, told))}; set the factory's"
            " arguments by model.arguments"
        )
    network.load_state_dict(state, strict=False)


def _load_without_pickle(content: bytes) -> Any:
    with warnings.catch_warnings(action="ignore"):  # of old formats; what cannot be read is an error
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _unwrapped(state: Any, name: str) -> dict[str, Tensor]:
    while isinstance(state, Mapping) and not _is_state(state):
        inner = next((state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping)), None)
        if inner is None:
            break
        state = inner
    if not isinstance(state, Mapping) or not _is_state(state):
        held = ", ".join(map(str, list(state)[:8])) if isinstance(state, Mapping) else type(state).__name__
        raise ExperimentError(
            f"{name} holds {held or 'nothing'}, expected tensors by name, perhaps under"
            f" {', '.join(_WRAPPERS)}"
        )
    return dict(state)


def _is_state(state: Mapping[Any, Any]) -> bool:
    return bool(state) and all(
        isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in state.items()
    )


def _without_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    while not any(key in own for key in state):
        prefix = next((prefix for prefix in _PREFIXES if all(key.startswith(prefix) for key in state)), None)
        if prefix is None:
            return state
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what}: {', '.join(names[:_SHOWN])}{more}" if names else ""


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"


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
