"""A network, a loss and tensors that were handed over in Python, made into what every run consists of."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lossmap.components.config.data import IN_PROCESS, Data
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Imported
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.imports import python_object, reason
from lossmap.components.data.pack import pack_tensors
from lossmap.components.data.tensors import tensor_source
from lossmap.components.importing.loaded_code import loaded_code_sha256
from lossmap.components.landscape.copies import copied
from lossmap.components.landscape.forward import without_gradients
from lossmap.components.landscape.objective import like_parameters, loss_registration, named_loss
from lossmap.components.models.imported import network_registration, unwrapped
from lossmap.components.models.state import network_bytes
from lossmap.components.stores.objects import Store

_PROBE = 8  # samples on which network and loss show what they compute
Tensors = dict[str, Any]  # inputs, targets, and perhaps test_inputs and test_targets
AnyLoss = str | Callable[[Tensor, Tensor], Tensor]


def pack(tensors: Tensors, store: Store) -> Manifest:
    """Pack tensors or arrays by name as the data set of a run.

    Raises:
        DataError: they do not belong together.
        ExperimentError: one of them is no tensor.
    """
    own = {name: _tensor(value, name) for name, value in tensors.items()}
    return pack_tensors(IN_PROCESS, tensor_source(own, Data(source=IN_PROCESS)), store)


@contextmanager
def in_process_model(network: nn.Module, loss: AnyLoss, tensors: Tensors) -> Iterator[Imported]:
    """The network as a model of an experiment; while this is open, this process can build it and knows its
    loss.

    It is a copy on the CPU that is surveyed. Its address follows from its weights, its structure, the code of
    it and of the loss, and what they compute on the first samples, so that the same call finds what it
    computed before. Torch's number of threads and its determinism are put back at the end.

    Args:
        network: stays as it is.
        loss: cross-entropy, mse, package.module:function, or a function or module of outputs and targets.
        tensors: inputs and targets by name.

    Raises:
        ExperimentError: network, loss and tensors do not fit together.
    """
    own = _copy(network)
    with ExitStack() as stack:
        stack.enter_context(_as_before())
        if isinstance(loss, str):
            name = loss
        else:
            name = f"{IN_PROCESS} {getattr(loss, '__qualname__', type(loss).__name__)}"
            stack.enter_context(loss_registration(name, loss))
        model = Imported(
            factory=f"{IN_PROCESS} {type(network).__name__}",
            loss=name,
            weights_sha256=hashlib.sha256(network_bytes(own)).hexdigest(),
            source_sha256=_what_it_computes(own, loss, name, tensors),
        )
        stack.enter_context(network_registration(model, own))
        yield model


def _copy(network: nn.Module) -> nn.Module:
    if not isinstance(network, nn.Module):
        raise ExperimentError(f"the network is {type(network).__name__}, expected a torch.nn.Module")
    try:
        return copied(unwrapped(network)).cpu().eval()
    except Exception as error:  # whatever the user's module holds
        raise ExperimentError(
            f"the network {type(network).__name__} cannot be copied: {reason(error)}"
        ) from None


@contextmanager
def _as_before() -> Iterator[None]:
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)


@torch.no_grad()
def _what_it_computes(network: nn.Module, loss: AnyLoss, name: str, tensors: Tensors) -> str:
    torch.set_num_threads(1)
    inputs, targets = (_tensor(tensors[name], name)[:_PROBE].cpu() for name in ("inputs", "targets"))
    targets = targets if targets.is_floating_point() else targets.long()
    compute = named_loss(name)
    try:
        outputs = without_gradients(
            network, lambda: network(like_parameters(inputs.clone(), network))
        ).detach()
        losses = compute(outputs, targets)
    except ExperimentError:
        raise
    except Exception as error:  # whatever the user's network does
        raise ExperimentError(
            f"the network {type(network).__name__} fails on inputs of the shape {tuple(inputs.shape)}:"
            f" {reason(error)}"
        ) from None
    own = loss if callable(loss) else _by_name(loss)
    parts = [
        str(network).encode(),
        loaded_code_sha256([network, own]).encode(),
        *(tensor.double().contiguous().numpy().tobytes() for tensor in (outputs, losses)),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _by_name(loss: str) -> Any:
    return python_object(loss) if ":" in loss else loss


def _tensor(value: Any, name: str) -> Tensor:
    try:
        return torch.as_tensor(value).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ExperimentError(
            f"{name} is {type(value).__name__}, expected a tensor or an array: {reason(error)}"
        ) from None
