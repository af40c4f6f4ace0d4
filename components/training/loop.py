"""Data-parallel training, step by step. No input or output happens here.

A step is a pure function of (weights, optimiser state, step number): the order of the images, their
augmentation and every random number come from streams named by seed, epoch, step and rank. A run that was
stopped anywhere and goes on is therefore the same run.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import BALANCE
from lossmap.components.config.training import Optimizer, Training
from lossmap.components.core.randomness import seed, stream
from lossmap.components.data.batches import (
    Images,
    as_inputs,
    augment,
    epoch_order,
    evaluation_share,
    rank_share,
)
from lossmap.components.models import balance
from lossmap.components.training import precision
from lossmap.components.training.distributed import Group
from lossmap.components.training.schedule import factor

_EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Accuracy:
    """Mean cross-entropy in nats and share of misclassified images, over `count` images; and the same of
    each task that has any, by name.
    """

    loss: float
    error: float
    count: int
    tasks: Mapping[str, "Accuracy"] = field(default_factory=dict)


class Trainer:
    """The network, its optimiser, and the sums of the running epoch.

    Attributes:
        network: the module itself, without the data-parallel wrapper.
        precision: number type of the forward and backward pass.
        step: optimiser steps done since the start.
        sums: float64 on the device: loss, wrong answers, gradient norm, images, and with layers of experts
            what BALANCE names; of this rank, over the running epoch; a row for each task.
    """

    def __init__(
        self, training: Training, manifest: Manifest, network: nn.Module, images: Images, group: Group
    ):
        self.training, self.manifest, self.group = training, manifest, group
        self.images = images.to(group.device)
        self._layout = torch.channels_last if training.channels_last else torch.contiguous_format
        self.network = network.to(device=group.device).to(memory_format=self._layout)
        # Images with one channel are in both memory layouts at once; torch may then warn that a gradient is
        # in the other one.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        self._parallel = _parallel(self.network, group)
        self.precision = precision.resolve(training.precision, group)
        self.optimizer = _optimizer(training, self.network)
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=training.precision == "float16")
        self.step = 0
        self._order, self._order_epoch = torch.empty(0, dtype=torch.int64), -1
        self._balances = BALANCE if balance.has_experts(network) else ()
        self.sums = torch.zeros(
            max(1, len(manifest.tasks)), 5 + len(self._balances), dtype=torch.float64, device=group.device
        )

    @property
    def steps_per_epoch(self) -> int:
        """Whole global batches in the training set; what is left over is drawn anew in the next epoch's
        order.
        """
        return max(1, len(self.images) // self.training.batch_size)

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.training.epochs * self.steps_per_epoch

    @property
    def learning_rate(self) -> float:
        """The rate of the coming step."""
        epoch = self.step / self.steps_per_epoch
        return self.training.optimizer.learning_rate * factor(
            self.training.schedule, epoch, self.training.epochs
        )

    def train_step(self) -> None:
        """One optimiser step on this rank's share of the next global batch; gradients are averaged over
        all ranks.
        """
        self._parallel.train()
        pixels, labels = self._share()
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = self.learning_rate
        torch.manual_seed(seed("step", self.training.seed, self.step, self.group.rank))
        with self._autocast():
            logits = self._parallel(self._prepared(pixels))
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.training.label_smoothing)
        self.optimizer.zero_grad()
        used = balance.take_balance(self.network)
        self.scaler.scale(loss if used is None else loss + used.loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.training.gradient_clip or math.inf)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        loss_and_wrong, count = self._tally(
            pixels, logits.detach().float(), labels, self.training.label_smoothing
        ).tensor_split([2], dim=1)
        others = (
            norm.double()[None]
            if used is None
            else torch.cat([norm[None], used.loss.detach()[None], used.routing])
        )
        # a step that float16's scaler skips has no gradient to speak of
        skipped = self.scaler.is_enabled() and not norm.isfinite()
        norms = torch.zeros_like(count) if skipped else others[:1] * count
        steps = torch.zeros_like(count) if skipped else count
        self.sums += torch.cat([loss_and_wrong, norms, count, others[1:] * count, steps], dim=1)

    def finish_epoch(self) -> tuple[Accuracy, dict[str, float]]:
        """Means over an epoch and all ranks, of loss and error while it ran (augmented images, changing
        weights), and of other metrics by name.

        These are `gradient_norm`, over the steps that float16's scaler did not skip (NaN where it skipped
        all), and what BALANCE names in a network with layers of experts. The sums start anew.
        """
        sums = self.group.total(self.sums.clone())
        self.sums.zero_()
        norm, count, *used, steps = sums[:, 2:].sum(dim=0).tolist()
        others = {name: total / count for name, total in zip(self._balances, used, strict=True)}
        return self._accuracy(sums[:, [0, 1, 3]]), {
            "gradient_norm": norm / steps if steps else math.nan,
            **others,
        }

    @torch.no_grad()
    def evaluate(self, images: Images) -> Accuracy:
        """Loss and error on every image exactly once, in evaluation mode, shared among all ranks."""
        self.group.share_buffers(self.network)
        self.network.eval()
        sums = torch.zeros(len(self.sums), 3, dtype=torch.float64)
        for indices in evaluation_share(len(images), self.group.rank, self.group.world).split(
            _EVALUATION_BATCH
        ):
            pixels, labels = images.pixels[indices], images.labels[indices].to(self.group.device)
            with self._autocast():
                logits = self.network(self._prepared(pixels.to(self.group.device))).float()
            sums += self._tally(pixels, logits, labels).cpu()
        return self._accuracy(self.group.total(sums))

    def _tally(self, pixels: Tensor, logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Sums over a batch of loss, wrong answers, and images, float64: a row for each task, or one for
        all.
        """
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing).double()
        values = torch.stack(
            [losses, (logits.argmax(dim=1) != labels).double(), torch.ones_like(losses)], dim=1
        )
        if not self.manifest.tasks:
            return values.sum(dim=0, keepdim=True)
        numbers = pixels[:, 0].to(values.device)
        return torch.stack(
            [values[numbers == number].sum(dim=0) for number in range(len(self.manifest.tasks))]
        )

    def _accuracy(self, sums: Tensor) -> Accuracy:
        tasks = {
            task.name: _mean(row) for task, row in zip(self.manifest.tasks, sums, strict=False) if row[2]
        }
        return replace(_mean(sums.sum(dim=0)), tasks=tasks)

    def _share(self) -> tuple[Tensor, Tensor]:
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if epoch != self._order_epoch:
            self._order, self._order_epoch = epoch_order(len(self.images), self.training.seed, epoch), epoch
        batch = self._order[position * self.training.batch_size : (position + 1) * self.training.batch_size]
        mine = rank_share(batch, self.group.rank, self.group.world).to(self.group.device)
        pixels, labels = self.images.pixels[mine], self.images.labels[mine]
        if self.manifest.kind != "images":
            return pixels, labels
        generator = stream("augment", self.training.seed, self.step, self.group.rank)
        return augment(pixels, self.training.augmentation, self.manifest, generator), labels

    def _prepared(self, pixels: Tensor) -> Tensor:
        inputs = as_inputs(pixels, self.manifest)
        return inputs.contiguous(memory_format=self._layout) if inputs.dim() == 4 else inputs

    def _autocast(self) -> torch.autocast:
        kind = precision.TYPES[self.precision]
        return torch.autocast(self.group.device.type, dtype=kind, enabled=kind != torch.float32)


def _mean(sums: Tensor) -> Accuracy:
    loss, wrong, count = sums.tolist()
    return Accuracy(loss / count, wrong / count, int(count))


def _parallel(network: nn.Module, group: Group) -> nn.Module:
    """The network whose backward pass averages the gradients over all processes; itself where there is one.

    Finding unused parameters also keeps the gradient buckets as they are. Otherwise they are rebuilt after
    the first step of every process's life, and with three or more ranks a resumed run would add its gradients
    in another order.
    """
    if group.world == 1:
        return network
    return DistributedDataParallel(network, find_unused_parameters=True)


def _optimizer(training: Training, network: nn.Module) -> torch.optim.Optimizer:
    settings, groups = training.optimizer, _decayed(training.optimizer, network)
    if settings.algorithm == "sgd":
        return torch.optim.SGD(groups, settings.learning_rate, settings.momentum, nesterov=settings.nesterov)
    kind = torch.optim.Adam if settings.algorithm == "adam" else torch.optim.AdamW
    return kind(groups, settings.learning_rate, settings.betas)


def _decayed(settings: Optimizer, network: nn.Module) -> list[dict[str, Any]]:
    """The parameters with their weight decay. Biases and the parameters of normalisation are those with one
    dimension.
    """
    exempt, decayed = list[nn.Parameter](), list[nn.Parameter]()
    for parameter in network.parameters():
        is_exempt = parameter.dim() <= 1 and not settings.decay_norms_and_biases
        (exempt if is_exempt else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
