"""Whether a network is a function of its weights and of one sample: what a survey takes for granted."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.notes import tell
from lossmap.components.landscape.forward import detached_outputs
from lossmap.components.landscape.moving import moving_parameters
from lossmap.components.landscape.objective import like_parameters
from lossmap.components.landscape.outputs import are_close, network_outputs
from lossmap.components.landscape.precision import is_narrow, widen

Build = Callable[[], nn.Module]  # a new network with the surveyed weights, in evaluation mode

_FEW = (1, 2)  # samples in the smaller batches
_LARGE = 1 << 21  # numbers in the samples, above which new networks are asked about few of them
_FEW_LARGE = 16
_PASSES = 30  # where random numbers are drawn: what they change at one pass in ten is then seen at 96 %
_TRACED = 2  # samples whose derivatives are followed
_MOVE = 0.01  # of a weight's mean magnitude: what follows from the weights changes, and stays finite

_RANDOM = (
    "it draws random numbers in evaluation mode, or counts its calls, and this noise would be surveyed; let"
    " it do neither there, such as F.dropout(x, training=self.training)"
)
_TOGETHER = (
    "what it answers for a sample depends on the others of the batch, so that the loss would depend on"
    " landscape.batch_size; each sample has to have a loss of its own"
)
_HIDDEN = (
    "it keeps random numbers outside of its weights; keep them in a buffer (register_buffer), which the file"
    " of weights holds"
)
_STALE = (
    "it keeps values that it made of its weights earlier (a cache, or a view of a weight), and these do not"
    " move with the weights; compute them in forward"
)


def check_function(builds: Sequence[Build], inputs: Tensor, name: str) -> None:
    """Refuse a network that is no function of its weights and of one sample, or whose weights cannot be moved
    each for itself.

    Outputs are equal where they differ by less than sqrt(eps) of the largest, eps that of their type: a
    batch of another size adds in another order.

    Args:
        builds: two, whose generators of random numbers start from other seeds.
        inputs: as the network wants them: N x …, as many as go through it at a time.
        name: of the network, for messages.

    Raises:
        ExperimentError: with what differs, and what to do.
    """
    network = builds[0]()
    _refuse_shared_memory(network, name)
    before = kept_tensors(network)
    outputs = _outputs(network, inputs)
    check_kept(network, before, name)
    _compare_passes(network, inputs, outputs, name)
    _compare_batches(network, inputs, outputs, name)
    again = inputs[:_FEW_LARGE] if inputs.numel() > _LARGE else inputs
    found = _outputs(builds[1](), again)
    _expect(found, outputs[: len(again)], f"two networks of {name} with the same weights", _HIDDEN)
    _compare_moved(network, builds[0](), again, name)
    _check_graph(widen(builds[0]()), inputs[:_TRACED], name)


def kept_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Copies of its parameters and buffers by name, without those that its first call makes."""
    tensors = {name: tensor for name, tensor in _tensors(network).items() if not is_lazy(tensor)}
    return {name: tensor.clone() for name, tensor in tensors.items()}


def check_kept(network: nn.Module, before: Mapping[str, Tensor], name: str) -> None:
    """Refuse a network whose forward passes, in evaluation mode, changed its parameters or buffers.

    Args:
        network: after them.
        before: its kept_tensors.
        name: of the network, for messages.

    Raises:
        ExperimentError: with the first that is another.
    """
    for key, tensor in _tensors(network).items():
        if key in before and not _same(tensor.to(before[key].device), before[key]):
            raise ExperimentError(
                f"{name} changes {key} in a forward pass in evaluation mode, so that no two passes are alike,"
                " or it is surveyed around other weights than its own; let it change only while"
                " self.training, or, where a pass projects the weights (max_norm), give those that it leaves"
            )


def _refuse_shared_memory(network: nn.Module, name: str) -> None:
    for one, other in _sharing(network):
        raise ExperimentError(
            f"{one} and {other} of {name} share memory, so that none of them can be moved alone; use one"
            " Parameter for both, or compute one from the other in forward"
        )


def _compare_passes(network: nn.Module, inputs: Tensor, outputs: Tensor, name: str) -> None:
    """A second pass, and many where it draws random numbers, which change the outputs rarely (layers that are
    left out), or never.
    """
    before = _generators()
    for _ in range(_PASSES):
        _expect(_outputs(network, inputs), outputs, f"two passes of {name} over the same samples", _RANDOM)
        if _generators() == before:
            return


def _generators() -> tuple[bytes, str, str]:
    """Where the global generators of random numbers are."""
    return (
        torch.get_rng_state().numpy().tobytes(),
        str(random.getstate()),
        str(np.random.get_state(legacy=False)),
    )


def _compare_batches(network: nn.Module, inputs: Tensor, outputs: Tensor, name: str) -> None:
    """The first samples alone, and the last: of a batch that is taken for a sequence, the first ones do not
    see the others.
    """
    for few in (part for count in _FEW for part in (slice(count), slice(-count, None))):
        try:
            found = _outputs(network, inputs[few])
        except ExperimentError:  # told where a batch of that size is evaluated
            continue
        if found.shape == outputs[few].shape:
            _expect(
                found, outputs[few], f"outputs of {name} alone and in a batch of {len(inputs)}", _TOGETHER
            )


def _compare_moved(used: nn.Module, fresh: nn.Module, inputs: Tensor, name: str) -> None:
    """A network that was called, moved as a survey moves it, against a new one with the moved weights."""
    generator = torch.Generator().manual_seed(0)
    for parameter, other in zip(used.parameters(), fresh.parameters(), strict=True):
        if parameter.is_floating_point() or parameter.is_complex():
            step = _MOVE * float(parameter.detach().abs().double().nan_to_num().mean() or 1)
            moved = parameter.detach() + step * torch.randn(
                parameter.shape, generator=generator, dtype=parameter.dtype
            )
            parameter.data = moved
            with torch.no_grad():
                other.copy_(moved)
    _expect(
        _outputs(used, inputs),
        _outputs(fresh, inputs),
        f"{name}, moved, and a new one there",
        _STALE,
    )


class _NarrowTypes(TorchFunctionMode):
    """The types of less than 32 bits of what is computed from weights while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, None] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """As the function; notes the type of its result."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.requires_grad and is_narrow(result):
            self.found[str(result.dtype).removeprefix("torch.")] = None
        return result


def _check_graph(network: nn.Module, inputs: Tensor, name: str) -> None:
    """Refuse one that rounds what it computes from its weights, and tell of tensors that look like weights
    and are none. What has no derivatives is passed over.

    Args:
        network: whose weights have 32 bits or more.
        inputs: a few.
        name: of the network, for messages.
    """
    parameters = moving_parameters(network).values()
    for parameter in parameters:
        parameter.requires_grad_()
    try:
        with torch.enable_grad(), _NarrowTypes() as types:
            outputs = network_outputs(network, like_parameters(inputs.clone(), network))
    except ExperimentError:  # told where it is evaluated
        return
    if types.found:
        raise ExperimentError(
            f"{name} computes in {' and '.join(types.found)} in its forward pass (torch.autocast, or a cast),"
            " so that along its weights the loss is a staircase; let it compute in float32 when it is"
            " surveyed: torch.autocast(..., enabled=False)"
        )
    known = {id(parameter) for parameter in network.parameters()}
    others = [tuple(each.shape) for each in _leaves(outputs) if id(each) not in known]
    if others:
        tell(
            f"{name} computes with {len(others)} tensors that require a gradient and are no parameters of it"
            f" (the first of the shape {others[0]}): they stay where they are; keep layers in nn.ModuleList,"
            " and tensors as nn.Parameter, for them to move"
        )


def _leaves(outputs: Tensor) -> list[Tensor]:
    """The tensors whose gradients those of the outputs lead to."""
    nodes, seen, found = [outputs.grad_fn], set[Any](), list[Tensor]()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [following for following, _ in node.next_functions]
        if hasattr(node, "variable"):
            found.append(node.variable)
    return found


def _outputs(network: nn.Module, inputs: Tensor) -> Tensor:
    """As exact as its coarsest weights, in memory of their own: they may be a buffer of the network."""
    found = detached_outputs(network, inputs).clone()
    kinds = {each.dtype for each in network.parameters() if each.is_floating_point()}
    return found.float() if found.dtype == torch.float64 and kinds - {torch.float64} else found


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; a quantized network's state holds types, too."""
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def _expect(found: Tensor, expected: Tensor, what: str, cause: str) -> None:
    rounded = expected.is_floating_point() or expected.is_complex()
    tolerance = torch.finfo(expected.dtype).eps ** 0.5 if rounded else 0.0
    if not are_close(found, expected, tolerance):
        raise ExperimentError(f"{what} differ {_by(found, expected)}: {cause}")


def _by(found: Tensor, expected: Tensor) -> str:
    if found.shape != expected.shape:
        return f"in their shapes, {tuple(found.shape)} and {tuple(expected.shape)}"
    numbers, expected_numbers = (int(tensor.isfinite().sum()) for tensor in (found, expected))
    if numbers != expected_numbers:
        return f"in how many are finite, {numbers} and {expected_numbers} of {expected.numel()}"
    most = float((found.double() - expected.double()).abs().nan_to_num().max())
    return f"by up to {most:.3g}, at outputs of up to {float(expected.double().abs().nan_to_num().max()):.3g}"


def _same(one: Tensor, other: Tensor) -> bool:
    return (
        torch.equal(one.nan_to_num(), other.nan_to_num())
        if one.is_floating_point()
        else torch.equal(one, other)
    )


def _sharing(network: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of two tensors, one of them a parameter at least, with a number in common in memory."""
    parameters = dict(network.named_parameters())
    by_storage = defaultdict[int, list[tuple[str, Tensor]]](list)
    for name, tensor in [*parameters.items(), *network.named_buffers()]:
        if tensor.numel():
            by_storage[tensor.untyped_storage().data_ptr()].append((name, tensor))
    for group in by_storage.values():
        for (one, first), (other, second) in combinations(group, 2):
            if one in parameters and set(_places(first)) & set(_places(second)):
                yield one, other


def _places(tensor: Tensor) -> list[int]:
    """Where its numbers lie in its storage, in bytes."""
    places = torch.tensor(tensor.storage_offset())
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        places = places[..., None] + torch.arange(size) * stride
    return (places * tensor.element_size()).flatten().tolist()
