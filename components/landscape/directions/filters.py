"""Where the filters of a weight are: the numbers that lead to one output channel or neuron."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

# a module's weight, and what weight norm, spectral norm and pruning keep in its place
_WEIGHTS = (
    "weight",
    "weight_orig",
    "weight_g",
    "weight_v",
    "parametrizations.weight.original",
    "parametrizations.weight.original0",
    "parametrizations.weight.original1",
)


@dataclass(frozen=True)
class Layout:
    """How a parameter of two or more dimensions is arranged.

    Attributes:
        inputs_first: whether it is inputs x outputs / groups x …, as of a transposed convolution (an
            embedding's inputs are its words); else it is outputs x inputs / groups x …, as of all other
            layers of torch.nn.
        groups: of a convolution: each leads from inputs of its own to outputs of its own.
        padding: the row of an embedding that stands for no word, which training leaves where it is; None
            where there is none, or where other layers use the weight, too.
    """

    inputs_first: bool = False
    groups: int = 1
    padding: int | None = None

    def moving(self, direction: Tensor) -> Tensor:
        """The direction, without what stays."""
        if self.padding is None:
            return direction
        return direction.index_fill(0, torch.tensor([self.padding]), 0)

    def groups_of(self, parameter: Tensor) -> int:
        """Its groups; 1 where they are not to be seen in it, as in the lengths that weight norm keeps."""
        return 1 if len(parameter) % self.groups else self.groups

    def to_filters(self, parameter: Tensor) -> Tensor:
        """As outputs x inputs / groups x …: row i are the numbers that lead to output channel i."""
        return _swapped(parameter, self.groups_of(parameter)) if self.inputs_first else parameter

    def from_filters(self, rows: Tensor, like: Tensor) -> Tensor:
        """The inverse of to_filters, for a parameter of that shape."""
        return _swapped(rows, self.groups_of(like)) if self.inputs_first else rows


OUTPUTS_FIRST = Layout()


def filter_layouts(network: nn.Module) -> dict[str, Layout]:
    """The layouts of a network's parameters that are not outputs x inputs x …, by name: those of transposed
    and grouped convolutions, embeddings, and the Conv1D of the package transformers. A parameter of a user's
    own module counts as outputs x inputs x …, as in torch.nn.Linear.
    """
    return dict(_layouts(network))


def _layouts(network: nn.Module) -> Iterator[tuple[str, Layout]]:
    shapes = {name: parameter.dim() for name, parameter in network.named_parameters()}
    named = Counter(id(parameter) for _, parameter in network.named_parameters(remove_duplicate=False))
    for prefix, module in network.named_modules():
        layout = _layout(module, named)
        for weight in _WEIGHTS if layout != OUTPUTS_FIRST else ():
            name = f"{prefix}.{weight}" if prefix else weight
            if shapes.get(name, 0) > 1:
                yield name, layout


def _layout(module: nn.Module, named: Mapping[int, int]) -> Layout:
    if isinstance(module, _ConvNd):
        return Layout(module.transposed, module.groups)
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        tied = named[id(module.weight)] > 1
        return Layout(inputs_first=True, padding=None if tied else module.padding_idx)
    return Layout(inputs_first=_is_transposed_linear(module))


def _is_transposed_linear(module: nn.Module) -> bool:
    """Whether it is the layer of GPT-2 as Hugging Face writes it."""
    kind = type(module)
    return kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils"


def _swapped(weight: Tensor, groups: int) -> Tensor:
    """(groups a) x b x … to (groups b) x a x …, group by group."""
    swapped: Tensor = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return swapped
