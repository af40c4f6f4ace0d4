"""Networks that lossmap did not train: what a function of the user's returns, or what was handed over in
this process.
"""

import copy
import hashlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from torch import nn

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Imported
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.frozen import canonical_json
from lossmap.components.core.imports import python_object, reason

_registered: dict[str, nn.Module] = {}


def imported(model: Imported, _manifest: Manifest) -> nn.Module:
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
            f"{_file(factory, model)} has changed since the run was made, so that {model.factory} may give"
            " another network; start a new run"
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
    while True:
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = cast(nn.Module, network.module)
        elif hasattr(network, "_orig_mod"):  # of torch.compile, which takes seconds to import
            network = cast(nn.Module, network._orig_mod)
        else:
            return network


def source_sha256(model: Imported) -> str | None:
    """SHA-256 of the Python file in which the factory is; None where it is in no file."""
    file = _file(python_object(model.factory), model)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file and file.is_file() else None


@contextmanager
def network_registration(model: Imported, network: nn.Module) -> Iterator[None]:
    """While this is open, this process can build the network of `model`."""
    _registered[_key(model)] = network
    try:
        yield
    finally:
        del _registered[_key(model)]


def _key(model: Imported) -> str:
    return canonical_json(model.model_dump(mode="json"))


def _registered_copy(model: Imported) -> nn.Module:
    if _key(model) not in _registered:
        raise ExperimentError(
            "the network of this run was handed over in Python, and only there can it be made: "
            "go on by the same call of lossmap.pipelines.api.survey, with the same network and tensors"
        )
    return unwrapped(copy.deepcopy(_registered[_key(model)])).cpu()


def _file(factory: Any, model: Imported) -> Path | None:
    """Where the factory is defined; for an object without a home of its own, the file of the module that
    it is named in.
    """
    home = getattr(inspect.unwrap(factory) if callable(factory) else factory, "__module__", None)
    module = sys.modules.get(home or "") or sys.modules.get(model.factory.partition(":")[0])
    file = getattr(module, "__file__", None)
    return Path(file) if file else None


def _call(model: Imported) -> str:
    return f"{model.factory}({', '.join(f'{name}={value!r}' for name, value in model.arguments.items())})"
