"""Losses of torch on small outputs and targets that they take, and problems whose samples do not count
alike.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from lossmap.components.landscape.objective import Problem, Samples, users_loss

CLASSES, PLACES = 4, 3


def _classes(generator, *shape):
    return torch.randint(CLASSES, shape, generator=generator)


def _normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def with_ignored(targets, ignored=-100):
    """Two of five targets ignored, and all of the third sample's."""
    targets = targets.clone()
    targets.view(-1)[torch.arange(targets.numel()) % 5 < 2] = ignored
    targets[2] = ignored
    return targets


def _one_number(outputs, targets):
    return F.mse_loss(outputs, targets)


def criteria():
    """By name: the loss as a user has it, outputs and targets."""
    generator = torch.Generator().manual_seed(0)
    count = 17
    scores, numbers = (_normal(generator, count, CLASSES) for _ in range(2))
    places, rows = _normal(generator, count, CLASSES, PLACES), _normal(generator, count, CLASSES, 2, 3)
    classes, placed = _classes(generator, count), _classes(generator, count, PLACES)
    gridded = _classes(generator, count, 2, 3)
    weight = torch.tensor([0.2, 3.0, 0.7, 1.5])
    labels = (numbers > 0.3).double()
    signs, counts = 2 * labels - 1, (2 * numbers.abs()).floor()
    lists = scores.argsort(dim=1)
    lists[:, 2:] = -1
    soft, log_soft = numbers.softmax(1), scores.log_softmax(1)
    return {
        "cross-entropy": ("cross-entropy", scores, classes),
        "class": (nn.CrossEntropyLoss, scores, classes),
        "ignored": (nn.CrossEntropyLoss(), scores, with_ignored(classes)),
        "weighted": (nn.CrossEntropyLoss(weight=weight), scores, classes),
        "weighted, ignored, smooth": (
            nn.CrossEntropyLoss(weight=weight, label_smoothing=0.2),
            scores,
            with_ignored(classes),
        ),
        "places": (F.cross_entropy, places, with_ignored(placed)),
        "places, own ignored": (partial(F.cross_entropy, weight=weight, ignore_index=2), places, placed),
        "as many places as classes": (
            F.cross_entropy,
            rows[..., 0, :].repeat(1, 1, 2)[..., :CLASSES],
            _classes(generator, count, CLASSES),
        ),
        "partial of a class": (partial(nn.CrossEntropyLoss, label_smoothing=0.1), scores, classes),
        "probabilities": (nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1), scores, soft),
        "probabilities at places": (nn.CrossEntropyLoss(), places, places.flip(0).softmax(1)),
        "likelihood": (nn.NLLLoss(weight=weight), log_soft, with_ignored(classes)),
        "likelihood at places": (nn.NLLLoss(weight=weight), rows.log_softmax(1), with_ignored(gridded)),
        "probability of labels": (nn.BCELoss(), scores.sigmoid(), labels),
        "weights of labels": (nn.BCELoss(weight=weight), scores.sigmoid(), labels),
        "labels": (nn.BCEWithLogitsLoss(weight=weight, pos_weight=weight.flip(0)), scores, labels),
        "mse": ("mse", scores, numbers),
        "squares": (nn.MSELoss, scores, numbers),
        "absolute": (nn.L1Loss(), places, places.flip(0)),
        "smooth absolute": (nn.SmoothL1Loss(beta=0.3), scores, numbers),
        "huber": (partial(F.huber_loss, delta=0.4), scores, numbers),
        "divergence": (nn.KLDivLoss(), log_soft, soft),
        "divergence of samples": (nn.KLDivLoss(reduction="batchmean"), log_soft, soft),
        "divergence of logarithms": (
            partial(F.kl_div, reduction="batchmean", log_target=True),
            log_soft,
            soft.log(),
        ),
        "counts": (nn.PoissonNLLLoss(full=True), scores, counts),
        "rates": (nn.PoissonNLLLoss(log_input=False, eps=1e-3), scores.exp(), counts),
        "signs": (nn.SoftMarginLoss(), scores, signs),
        "distances": (nn.HingeEmbeddingLoss(margin=0.7), scores, signs),
        "margins of lists": (nn.MultiLabelMarginLoss(), scores, lists),
        "margins of labels": (nn.MultiLabelSoftMarginLoss(weight=weight), scores, labels),
        "margins": (nn.MultiMarginLoss(p=2, margin=0.5, weight=weight), scores, classes),
        "a number for all": (_one_number, scores, numbers),
        "a number for each": (lambda outputs, targets: (outputs - targets).norm(dim=1), scores, numbers),
    }


TORCHS = {"cross-entropy": F.cross_entropy, "mse": F.mse_loss}


def torchs_own(criterion, outputs, targets):
    """What torch makes of the whole batch, in float64."""
    criterion = TORCHS.get(criterion, criterion) if isinstance(criterion, str) else criterion
    if isinstance(criterion, type) or isinstance(getattr(criterion, "func", None), type):
        criterion = criterion()
    if isinstance(criterion, partial):
        criterion = partial(
            criterion.func,
            **{name: _double(value) for name, value in criterion.keywords.items()},
        )
    elif isinstance(criterion, nn.Module):
        criterion = criterion.double()
    return float(criterion(outputs, targets).mean())


def _double(value):
    return value.double() if isinstance(value, torch.Tensor) else value


def weighted_problem(kind, samples=23, batch_size=7):
    """A small network in float64 and a loss whose samples count differently: by the weights of their classes,
    or by how many of their targets are ignored.
    """
    torch.manual_seed(3)
    inputs, classes = torch.randn(samples, 5).double(), torch.randint(CLASSES, (samples,))
    network = nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, CLASSES))
    loss = nn.CrossEntropyLoss()
    if kind == "weights":
        loss = nn.CrossEntropyLoss(weight=torch.tensor([0.2, 3.0, 0.7, 1.5]), label_smoothing=0.1)
    elif kind == "probabilities":
        classes = torch.rand(samples, CLASSES).double().softmax(1)
    elif kind == "ignored":
        classes = with_ignored(classes)
    elif kind == "places":
        network = nn.Sequential(
            network, nn.Linear(CLASSES, CLASSES * PLACES), nn.Unflatten(1, (CLASSES, PLACES))
        )
        classes = with_ignored(torch.randint(CLASSES, (samples, PLACES)))
    return Problem(
        network.double().eval(), users_loss(loss, kind), Samples(inputs, classes, batch_size)
    ), loss.double()
