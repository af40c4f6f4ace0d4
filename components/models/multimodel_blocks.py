"""The parts of MultiModel (Kaiser et al. 2017, sections 2.1-2.6) that do not depend on the tasks.

A sequence is N x L x W: N samples, L places, W the width of the unified representation. All blocks keep that
shape.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossmap.components.config.models import Experts
from lossmap.components.models.experts import ExpertLayer

_STEPS = ((3, 1), (3, 1), (7, 1), (7, 2))  # size and dilation
_LONGEST_WAVE = 10_000.0


class ConvolutionStep(nn.Module):
    """LayerNorm(SepConv(ReLU(x))) (section 2.1): every number of the width is convolved along the places
    on its own, then all are mixed at each place.
    """

    def __init__(self, width: int, size: int, dilation: int):
        super().__init__()
        self.depthwise = nn.Conv1d(
            width, width, size, padding=dilation * (size // 2), dilation=dilation, groups=width, bias=False
        )
        self.pointwise = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """A sequence to a sequence; beyond its ends there are zeros."""
        mixed: Tensor = self.pointwise(self.depthwise(F.relu(x).transpose(1, 2)).transpose(1, 2))
        normed: Tensor = self.norm(mixed)
        return normed


class ConvolutionBlock(nn.Module):
    """Two residual pairs of steps: h = x + step_2(step_1(x)), y = h + step_4(step_3(h)).

    The paper's steps have the sizes 3, 3, 15 and 15, the last with dilation 8, for sequences of hundreds;
    here they are 3, 3, 7 and 7, the last with dilation 2. Its dropout of one half is left out.
    """

    def __init__(self, width: int):
        super().__init__()
        self.steps = nn.ModuleList(ConvolutionStep(width, size, dilation) for size, dilation in _STEPS)

    def forward(self, x: Tensor) -> Tensor:
        """A sequence to a sequence."""
        first, second, third, fourth = self.steps
        x = x + second(first(x))
        moved: Tensor = x + fourth(third(x))
        return moved


class AttentionBlock(nn.Module):
    """x + W_o [softmax(Q_h K_h' / sqrt(d)) V_h for each head h], d = W / heads, and Q, K, V linear in
    LayerNorm(x + timing) (section 2.2).

    It is written as products and a softmax, since fused attention has no second derivative.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.inputs, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """A sequence to a sequence; every place sees all others."""
        count, length, width = x.shape
        projected = self.inputs(self.norm(x + timing(length, width, x)))
        queries, keys, values = projected.reshape(count, length, 3, self.heads, width // self.heads).permute(
            2, 0, 3, 1, 4
        )
        weights = (queries @ keys.transpose(-2, -1) / math.sqrt(width // self.heads)).softmax(dim=-1)
        heads = (weights @ values).transpose(1, 2).reshape(count, length, width)
        attended: Tensor = x + self.output(heads)
        return attended


class ExpertBlock(nn.Module):
    """x + experts(LayerNorm(x)) at each place (section 2.3). The places of all sequences are one batch of
    the experts, so that tasks share their load.
    """

    def __init__(self, width: int, experts: Experts):
        super().__init__()
        self.norm, self.experts = nn.LayerNorm(width), ExpertLayer(width, experts)

    def forward(self, sequences: Sequence[Tensor]) -> list[Tensor]:
        """Sequences of any lengths to sequences of the same."""
        places = torch.cat([x.flatten(0, 1) for x in sequences])
        moved = places + self.experts(self.norm(places))
        parts = moved.split([len(x) * x.shape[1] for x in sequences])
        return [part.reshape(x.shape) for part, x in zip(parts, sequences, strict=True)]


class EncoderBlock(nn.Module):
    """Convolutions, then attention, then experts."""

    def __init__(self, width: int, heads: int, experts: Experts):
        super().__init__()
        self.convolutions, self.attention = ConvolutionBlock(width), AttentionBlock(width, heads)
        self.experts = ExpertBlock(width, experts)

    def forward(self, sequences: Sequence[Tensor]) -> list[Tensor]:
        """One sequence for each task, of its own length, to the same."""
        moved: list[Tensor] = self.experts([self.attention(self.convolutions(x)) for x in sequences])
        return moved


class ImageNet(nn.Module):
    """The modality net of images: h = conv 3x3, then norm(conv 3x3 of stride 2 (ReLU(norm(h)))) + conv 1x1 of
    stride 2 (h), row by row (section 2.5.2).

    Norms are LayerNorm over the channels of each pixel. One block in place of the paper's several, which
    halve images of 299 pixels four times.
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.shortcut = nn.Conv2d(width, width, 1, stride=2)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, images: Tensor) -> Tensor:
        """N x C x H x W to N x (H/2 W/2) x width."""
        before, after = self.norms
        h = self.first(images)
        reduced: Tensor = _over_channels(
            after, self.second(F.relu(_over_channels(before, h)))
        ) + self.shortcut(h)
        return reduced.flatten(2).transpose(1, 2)


class TokenNet(nn.Module):
    """The modality net of tokens: a learnt vector for each (section 2.5.1)."""

    def __init__(self, vocabulary: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Whole numbers N x L, of any type, to N x L x width."""
        embedded: Tensor = self.embedding(tokens.long())
        return embedded


class TableNet(nn.Module):
    """The modality net of tables: a place for each column j, x_j w_j + b_j with vectors w_j and b_j. Of
    the paper's categorical data it has none.
    """

    def __init__(self, columns: int, width: int):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.randn(columns, width)) for _ in range(2))

    def forward(self, table: Tensor) -> Tensor:
        """N x L, L at most the number of columns, to N x L x width."""
        length = table.shape[1]
        return table[:, :, None] * self.weight[:length] + self.bias[:length]


class OutputNet(nn.Module):
    """A task's own: the mean over the places of LayerNorm(x), then linear, to its classes."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """A sequence to logits N x C."""
        logits: Tensor = self.linear(self.norm(x).mean(dim=1))
        return logits


def timing(length: int, width: int, like: Tensor) -> Tensor:
    """The place t as sines and cosines (section 2.2): (length, width), in the type and on the device of
    `like`.

    sin(t f_i) in the first half of the width and cos(t f_i) in the second, f_i = 10000^(-i / m) for i = 0 … m
    - 1, m = ceil(width / 2).
    """
    half = (width + 1) // 2
    frequencies = _LONGEST_WAVE ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width].to(like)


def _over_channels(norm: nn.Module, images: Tensor) -> Tensor:
    normed: Tensor = norm(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return normed
