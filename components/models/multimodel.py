"""One network for several tasks, after MultiModel of Kaiser et al. 2017, "One Model To Learn Them All" (arXiv
1706.05137).

    task's row -> modality net -> unified representation -> shared body -> the task's output net -> logits

A modality net is shared by all tasks of its modality, the body by all tasks. Kept of the paper: modality
nets, a unified representation of variable length, a body of depthwise-separable convolutions, attention and
sparsely-gated experts, and a command that tells which task is asked for. Left out: the input/output mixer and
the autoregressive decoder. All tasks here are classifications, whose output is one class and no sequence, so
that an encoder with a classifying output net is enough.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossmap.components.config.manifest import Manifest, Modality, PackedTask
from lossmap.components.config.models import MultiModel
from lossmap.components.models.multimodel_blocks import EncoderBlock, ImageNet, OutputNet, TableNet, TokenNet


def multimodel(model: MultiModel, manifest: Manifest) -> nn.Module:
    """The network for the tasks of a data set."""
    return MultiModelNetwork(model, manifest.tasks)


class MultiModelNetwork(nn.Module):
    """Rows of any tasks to logits.

    Args:
        model: width, blocks, heads, experts.
        tasks: in the order of their numbers in the rows.
    """

    def __init__(self, model: MultiModel, tasks: tuple[PackedTask, ...]):
        super().__init__()
        self.tasks, self.classes = tasks, max(len(task.classes) for task in tasks)
        self.commands = nn.Parameter(torch.randn(len(tasks), model.width))
        modalities: dict[Modality, list[PackedTask]] = {}
        for task in tasks:
            modalities.setdefault(task.modality, []).append(task)
        self.modalities = nn.ModuleDict(
            {modality: _modality_net(modality, alike, model.width) for modality, alike in modalities.items()}
        )
        self.body = nn.ModuleList(
            EncoderBlock(model.width, model.heads, model.experts) for _ in range(model.blocks)
        )
        self.outputs = nn.ModuleDict({task.name: OutputNet(model.width, len(task.classes)) for task in tasks})

    def forward(self, rows: Tensor) -> Tensor:
        """Logits N x C of rows N x (1 + F) as in PackedTask, C the classes of the task that has most.

        Of classes that a sample's task does not have the logit is half the least finite number: their
        probability is zero, and so are all derivatives, so that cross-entropy is that over the task's own
        classes. While training, every task has its place in the graph, also where no row is of it: then all
        parameters have gradients in every process, in the same order.
        """
        places = {number: torch.nonzero(rows[:, 0] == number).flatten() for number in range(len(self.tasks))}
        if not self.training:  # convolutions of no rows have no second derivative
            places = {number: chosen for number, chosen in places.items() if len(chosen)}
        sequences = [
            self._represented(number, rows.index_select(0, chosen)) for number, chosen in places.items()
        ]
        for block in self.body:
            sequences = block(sequences)
        logits = [
            self._padded(self.outputs[self.tasks[number].name](sequence))
            for number, sequence in zip(places, sequences, strict=True)
        ]
        return torch.cat(logits).index_select(0, torch.cat(list(places.values())).argsort())

    def _represented(self, number: int, rows: Tensor) -> Tensor:
        """The command of the task, then its samples as its modality net represents them: N x (1 + L) x W."""
        task = self.tasks[number]
        represented = self.modalities[task.modality](
            rows[:, 1 : 1 + task.features].reshape(len(rows), *task.shape)
        )
        command = self.commands[number].to(represented.dtype).expand(len(rows), 1, -1)
        return torch.cat([command, represented], dim=1)

    def _padded(self, logits: Tensor) -> Tensor:
        return F.pad(logits, (0, self.classes - logits.shape[1]), value=torch.finfo(logits.dtype).min / 2)


def _modality_net(modality: Modality, tasks: list[PackedTask], width: int) -> nn.Module:
    """The net that the tasks share, large enough for each of them."""
    if modality == "image":
        return ImageNet(max(task.shape[0] for task in tasks), width)
    if modality == "tokens":
        return TokenNet(max(task.vocabulary or 0 for task in tasks), width)
    return TableNet(max(task.features for task in tasks), width)
