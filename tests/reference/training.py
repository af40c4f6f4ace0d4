"""Slow, obvious second implementations of training: one process that does by hand what data-parallel
processes do.
"""

import copy
import math

import torch
import torch.nn.functional as F

from lossmap.components.core.randomness import stream
from lossmap.components.data.batches import augment, epoch_order, normalize


def learning_rate(training, step, steps_per_epoch):
    """The schedule, written as a table of cases."""
    schedule, base = training.schedule, training.optimizer.learning_rate
    epoch = step / steps_per_epoch
    rate = base
    if schedule.shape == "step":
        for milestone in schedule.milestones:
            if epoch >= milestone:
                rate *= schedule.decay
    if schedule.shape == "cosine" and epoch > schedule.warmup_epochs:
        rate = (
            base
            * 0.5
            * (
                1
                + math.cos(
                    math.pi * (epoch - schedule.warmup_epochs) / (training.epochs - schedule.warmup_epochs)
                )
            )
        )
    if schedule.shape == "linear" and epoch > schedule.warmup_epochs:
        rate = base * (training.epochs - epoch) / (training.epochs - schedule.warmup_epochs)
    if epoch < schedule.warmup_epochs:
        rate *= epoch / schedule.warmup_epochs
    return rate


def train(training, manifest, network, images, world):
    """SGD with momentum in float64: each share of the global batch goes through a copy of the network,
    gradients are averaged by hand.

    The running statistics are those of the first share's copy, as DistributedDataParallel keeps rank 0's.
    """
    network = copy.deepcopy(network).double()
    velocity = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
    steps_per_epoch = len(images.labels) // training.batch_size
    for step in range(training.epochs * steps_per_epoch):
        epoch, position = divmod(step, steps_per_epoch)
        order = epoch_order(len(images.labels), training.seed, epoch).tolist()
        batch = order[position * training.batch_size : (position + 1) * training.batch_size]
        share = training.batch_size // world
        gradients = []
        for rank in range(world):
            mine = batch[rank * share : (rank + 1) * share]
            pixels = augment(
                images.pixels[mine],
                training.augmentation,
                manifest,
                stream("augment", training.seed, step, rank),
            )
            replica = copy.deepcopy(network).train()
            loss = F.cross_entropy(
                replica(normalize(pixels, manifest).double()),
                images.labels[mine],
                label_smoothing=training.label_smoothing,
            )
            gradients.append(
                dict(
                    zip(
                        (name for name, _ in replica.named_parameters()),
                        torch.autograd.grad(loss, list(replica.parameters())),
                        strict=True,
                    )
                )
            )
            if rank == 0:
                statistics = dict(replica.named_buffers())
        _descend(network, velocity, gradients, training, learning_rate(training, step, steps_per_epoch))
        for name, buffer in network.named_buffers():
            buffer.copy_(statistics[name])
    return network


def _descend(network, velocity, gradients, training, rate):
    settings = training.optimizer
    mean = {name: sum(gradient[name] for gradient in gradients) / len(gradients) for name in velocity}
    norm = math.sqrt(sum(float((value**2).sum()) for value in mean.values()))
    scale = min(1.0, training.gradient_clip / norm) if training.gradient_clip else 1.0
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            slope = scale * mean[name] + settings.weight_decay * parameter
            velocity[name] = settings.momentum * velocity[name] + slope
            parameter.data = parameter.data - rate * (
                slope + settings.momentum * velocity[name] if settings.nesterov else velocity[name]
            )
