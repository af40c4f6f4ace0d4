"""The learning rate as a function of the epoch."""

import math

from lossmap.components.config.training import Schedule


def factor(schedule: Schedule, epoch: float, epochs: int) -> float:
    """What the base learning rate is multiplied by at a fractional epoch in [0, epochs).

    warm-up   epoch / warmup_epochs while epoch < warmup_epochs, times what follows
    constant  1
    step      decay ** (number of milestones <= epoch)
    cosine    (1 + cos(pi t)) / 2 with t the share done of what follows the warm-up (Loshchilov & Hutter
              2017, eq. 5)
    linear    1 - t: with a warm-up one cycle, for few epochs (Smith & Topin 2018, arXiv 1708.07120, section
              3; here the rate alone cycles, not the momentum, and it falls to zero in one line)
    """
    warm = min(1.0, epoch / schedule.warmup_epochs) if schedule.warmup_epochs else 1.0
    if schedule.shape == "step":
        return warm * schedule.decay ** sum(milestone <= epoch for milestone in schedule.milestones)
    if schedule.shape == "constant":
        return warm
    done = max(0.0, epoch - schedule.warmup_epochs) / max(epochs - schedule.warmup_epochs, 1e-9)
    left = 1 - min(done, 1.0)
    return warm * (left if schedule.shape == "linear" else (1 - math.cos(math.pi * left)) / 2)
