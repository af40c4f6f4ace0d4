"""Networks that lossmap did not train: what a function of the user's returns, or what was handed over in
this process.
"""

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Imported, Model
from lossmap.components.core.code import sources_sha256
from lossmap.components.core.copies import copied
from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.core.frozen import canonical_json
from lossmap.components.core.imports import python_object, reason

# torch.compile's wrapper, which takes seconds to import, has its network as _orig_mod
_SPREADING = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_registered: dict[str, nn.Module] = {}


def imported(model: Imported, _manifest: Manifest | None = None) -> nn.Module:
    """The network with the weights that its factory gives it, on the CPU.

    Raises:
        ExperimentError: there is no such factory, it fails, returns no network, or is not the one that the
            run began with.
    """
    if model.in_process:
        return _registered_copy(model)
    factory = python_object(model.factory)
    if model.source_sha256 not in (None, source_sha256(model)):
        raise ExperimentError(
            f"{model.factory}, the loss {model.loss}, or a module or package that they import has changed"
            " since the run was made, so that they may compute something else; start a new run"
        )
    try:
        network = factory(**model.arguments)
    except Exception as error:  # whatever the user's function does
        raise ExperimentError(
            f"{_call(model)} failed: {reason(error)}; set its arguments by model.arguments"
        ) from None
    if not isinstance(network, nn.Module):
        raise ExperimentError(f"{_call(model)} returned {type(network).__name__}, expected a torch.nn.Module")
    return unwrapped(network).cpu()


def unwrapped(network: nn.Module) -> nn.Module:
    """The network within torch.compile and wrappers that spread it over devices: the same function, in a
    process that needs neither.
    """
    wrapper = "module" if isinstance(network, _SPREADING) else "_orig_mod"
    inner = getattr(network, wrapper, None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else network


def source_sha256(model: Imported) -> str:
    """SHA-256 over the source that decides what the network and its loss compute: the modules of the factory
    and of the loss, and what they import.
    """
    names = [name for name in (model.factory, model.loss) if ":" in name]
    return sources_sha256(
        {name.partition(":")[0] for name in names}.union(*(_modules(python_object(name)) for name in names))
    )


@contextmanager
def in_one_line(model: Model, what: str) -> Iterator[None]:
    """Whatever a user's network does while this is open is told as an ExperimentError.

    Args:
        model: errors of lossmap's own networks stay what they are.
        what: is computed.
    """
    try:
        yield
    except LossmapError:
        raise
    except Exception as error:
        if not isinstance(model, Imported):
            raise
        raise ExperimentError(f"{model.factory} fails in {what}: {reason(error)}") from error


@contextmanager
def network_registration(model: Imported, network: nn.Module) -> Iterator[None]:
    """While this is open, this process can build the network of `model`."""
    _registered[_key(model)] = network
    try:
        yield
    finally:
        _registered.pop(_key(model), None)  # two of several networks may be one


def _key(model: Imported) -> str:
    return canonical_json(model.model_dump(mode="json", exclude={"trajectories"}))


def _registered_copy(model: Imported) -> nn.Module:
    if _key(model) not in _registered:
        raise ExperimentError(
            "the network of this run was handed over in Python, and only there can it be made: "
            "go on by the same call of lossmap.pipelines.api.survey, with the same network and tensors"
        )
    return unwrapped(copied(_registered[_key(model)])).cpu()


def _modules(value: Any) -> set[str]:
    """Names of the modules in which an object or its class is defined; of a wrapped function, both."""
    if isinstance(value, functools.partial):
        return _modules(value.func)
    if inspect.isfunction(value):
        return {value.__globals__["__name__"], inspect.unwrap(value).__module__}
    kind = value if isinstance(value, type) else type(value)
    return {each.__module__ for each in kind.__mro__}


def _call(model: Imported) -> str:
    return f"{model.factory}({', '.join(f'{name}={value!r}' for name, value in model.arguments.items())})"
