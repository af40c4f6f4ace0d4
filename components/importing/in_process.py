"""A network, a loss and data that were handed over in Python, made into what every run consists of."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lossmap.components.config.data import IN_PROCESS, Data
from lossmap.components.config.landscape import Landscape
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Imported
from lossmap.components.core.copies import copied
from lossmap.components.core.determinism import torch_as_before
from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.core.imports import python_object, reason
from lossmap.components.data.pack import pack_tensors
from lossmap.components.data.tensors import tensor_source
from lossmap.components.importing.arguments import ArgumentsCall
from lossmap.components.importing.batch_losses import BatchCall, BatchLoss
from lossmap.components.importing.given import AnyLoss, Batches, Given
from lossmap.components.importing.loaded_code import loaded_code_sha256
from lossmap.components.importing.tensors import Tensors, tensors_and_call
from lossmap.components.landscape.calls import Call, call_by
from lossmap.components.landscape.forward import without_gradients
from lossmap.components.landscape.layers import check_layers
from lossmap.components.landscape.moving import listed, moving_parameters
from lossmap.components.landscape.objective import like_parameters, loss_registration, named_loss
from lossmap.components.models.imported import network_registration, unwrapped
from lossmap.components.models.state import network_bytes
from lossmap.components.stores.objects import Store

_PROBE = 8  # samples on which network and loss show what they compute


@dataclass(frozen=True)
class Taken:
    """What a run is made of.

    Attributes:
        model: of its experiment.
        tensors: by name.
        call: how the network is called; None: with the inputs as they are.
    """

    model: Imported
    tensors: Tensors
    call: Call | None

    def check(self, landscape: Landscape) -> None:
        """Refuse what cannot be surveyed of a network that is called in this way.

        Raises:
            ExperimentError: the survey asks for outputs apart from the loss, or for statistics of batches
                where samples do not go through the network in batches.
        """
        asked = landscape.curvature and landscape.curvature.gauss_newton
        if asked and isinstance(self.call, BatchCall):
            raise ExperimentError(
                "landscape.curvature.gauss_newton is true and the loss is one of network and batch, expected"
                " one of outputs and targets, which that matrix is made of; hand over such a loss, or leave"
                " it out"
            )
        if landscape.batch_norm == "reestimated" and self.call and not self.call.whole_batches:
            raise ExperimentError(
                "landscape.batch_norm is reestimated and samples do not go through the network in whole"
                " batches, since the loss averages by itself or samples differ in shape; set it to frozen, or"
                " hand over samples of one shape and a loss of outputs and targets, or of network and batch"
                " that returns values and weights"
            )


def pack(tensors: Mapping[str, Tensor], data: Data, store: Store) -> Manifest:
    """Pack tensors by name as the data set of a run.

    Raises:
        DataError: they do not belong together.
    """
    return pack_tensors(IN_PROCESS, tensor_source(dict(tensors), data), store)


@contextmanager
def in_process_model(given: Given, batches: Batches | None = None) -> Iterator[Taken]:
    """The network as a model of an experiment, and its samples; while this is open, this process can build it
    and knows its loss.

    It is a copy on the CPU that is surveyed. Its address follows from its weights, its structure, the code of
    it and of the loss, and what they compute on the first samples, so that the same call finds what it
    computed before. Torch's number of threads and its determinism are put back at the end.

    Args:
        given: what was handed over.
        batches: its samples, where they have been read.

    Raises:
        ExperimentError: network, loss and data do not fit together.
        DataError: the data cannot be read, or is random.
    """
    own = _copy(given.network)
    with ExitStack() as stack:
        stack.enter_context(torch_as_before())
        torch.set_num_threads(1)
        tried = copied(own)  # which may keep something of its calls
        tensors, call = tensors_and_call(given, tried, batches or Batches.of(given))
        if not isinstance(given.loss, str):
            loss = BatchLoss(name=given.loss_name) if isinstance(call, BatchCall) else given.loss
            stack.enter_context(loss_registration(given.loss_name, loss))
            _refuse_weights_of_its_own(tried, call, given, tensors)
        model = Imported(
            factory=f"{IN_PROCESS} {type(given.network).__name__}",
            loss=given.loss_name,
            classes=given.classes,
            weights_sha256=hashlib.sha256(network_bytes(own)).hexdigest(),
            source_sha256=_what_it_computes(tried, call, given, tensors),
        )
        if call:
            call_by(own, call)
        stack.enter_context(network_registration(model, own))
        yield Taken(model, tensors, call)


def _copy(network: nn.Module) -> nn.Module:
    if not isinstance(network, nn.Module):
        raise ExperimentError(f"the network is {type(network).__name__}, expected a torch.nn.Module")
    _refuse_without_weights(network)
    try:
        own = copied(unwrapped(network)).cpu().eval()
    except Exception as error:  # whatever the user's module holds
        raise ExperimentError(
            f"the network {type(network).__name__} cannot be copied: {reason(error)}"
        ) from None
    check_layers(own)
    moving_parameters(own)  # refuses a network without any
    return own


def _refuse_without_weights(network: nn.Module) -> None:
    tensors = dict([*network.named_parameters(), *network.named_buffers()])
    kind = type(network).__name__
    if unmade := [name for name, tensor in tensors.items() if is_lazy(tensor)]:
        raise ExperimentError(
            f"the network {kind} has no weights yet in {listed(unmade)}: lazy layers make them in their first"
            " call; call it on a batch, and hand it over then"
        )
    if empty := [name for name, tensor in tensors.items() if tensor.is_meta]:
        raise ExperimentError(
            f"the network {kind} has no values in {listed(empty)}, which are on the device meta; make it on"
            " the CPU (to_empty), and load its weights"
        )


def _what_it_computes(network: nn.Module, call: Call | None, given: Given, tensors: Tensors) -> str:
    """SHA-256 over the structure and the code of network and loss, and what they make of the first
    samples.
    """
    inputs, targets = _first(tensors)
    compute = named_loss(given.loss_name)

    def computed() -> list[Tensor]:
        outputs = _answer(network, call, inputs).detach()
        return [outputs, compute(outputs, targets).detach()]

    try:
        found = without_gradients(network, computed)
    except LossmapError:
        raise
    except Exception as error:  # whatever the user's network does
        shape = "" if call else f" of the shape {tuple(inputs.shape)}"
        raise ExperimentError(
            f"the network {type(network).__name__} fails on inputs{shape}: {reason(error)}"
        ) from None
    parts = [
        str(network).encode(),
        loaded_code_sha256([network, _loaded(given.loss)]).encode(),
        *([_described(call).encode()] if call else []),
        *(tensor.double().contiguous().numpy().tobytes() for tensor in found),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _answer(network: nn.Module, call: Call | None, inputs: Tensor) -> Any:
    own = like_parameters(inputs.clone(), network)
    return call(network, own) if call else network(own)


def _first(tensors: Tensors) -> tuple[Tensor, Tensor]:
    inputs, targets = tensors["inputs"][:_PROBE], tensors["targets"][:_PROBE]
    return inputs, targets if targets.is_floating_point() else targets.long()


def _refuse_weights_of_its_own(network: nn.Module, call: Call | None, given: Given, tensors: Tensors) -> None:
    """Of a loss that has the network's parameters besides its arguments, as a penalty on the weights has by a
    closure: these stay where they are while a copy of the network moves.

    Args:
        network: a copy of the one that was handed over.
        call: as in Taken.
        given: with that network, whose own parameters the loss may have.
        tensors: by name.

    Raises:
        ExperimentError: it has.
    """
    weights = [each for each in given.network.parameters() if each.requires_grad]
    inputs, targets = _first(tensors)
    try:
        with torch.enable_grad():
            losses = named_loss(given.loss_name)(_answer(network, call, inputs), targets)
            parts = torch.autograd.grad(losses.sum(), weights, allow_unused=True)
    except Exception:  # what fails is told where it is evaluated; what has no derivative, has no weights
        return
    if any(part is not None for part in parts):
        raise ExperimentError(
            f"the loss {given.loss_name} has parameters of the network besides its arguments, which would"
            " stay where they are while the network moves; hand over a function of network and batch that"
            " takes them from its network"
        )


def _described(call: Call) -> str:
    """What of a call decides values, and stands in no code."""
    if isinstance(call, ArgumentsCall):
        return f"{call.rows} {call.output}"
    return f"{call.rows} {call.weight} {call.dtype} {call.mapped}" if isinstance(call, BatchCall) else ""


def _loaded(loss: AnyLoss) -> Any:
    named = isinstance(loss, str) and ":" in loss
    return python_object(str(loss)) if named else loss
