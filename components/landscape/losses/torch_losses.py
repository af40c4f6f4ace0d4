"""The losses of torch.nn and torch.nn.functional, averaged as they themselves average.

Each is computed in float64 of whatever the outputs' type is.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.losses.arrangement import classes_second, like_outputs, real
from lossmap.components.landscape.losses.loss import IGNORED, Loss, mean_of_each, sum_of_each

Function = Callable[..., Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class TorchLoss(Loss):
    """A function of torch.nn.functional.

    Attributes:
        function: the function.
        settings: its keyword arguments, without the reduction.
        reduction: `mean`, or `batchmean`: the sum over a sample's numbers.
    """

    function: Function
    settings: Mapping[str, Any]
    reduction: str = "mean"

    def _own_number(self, outputs: Tensor, targets: Tensor) -> float | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # kl_div's, of its own `mean`
            return float(self._compute(*self._arranged(outputs, targets), self.reduction))

    def _values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        outputs, targets = self._arranged(outputs, targets)
        elements = self._compute(outputs, targets, "none")
        if elements.shape not in (outputs.shape, outputs.shape[:1], outputs.shape[:1] + outputs.shape[2:]):
            raise ExperimentError(
                f"the loss {self.name} has elements of the shape {tuple(elements.shape)} for outputs of the"
                f" shape {tuple(outputs.shape)}, expected one shape: its weight must not have one number for"
                " each sample"
            )
        return sum_of_each(elements) if self.reduction == "batchmean" else mean_of_each(elements)

    def _compute(self, outputs: Tensor, targets: Tensor, reduction: str) -> Tensor:
        settings = {name: _like(outputs, value) for name, value in self.settings.items()}
        return self.function(outputs, targets, reduction=reduction, **settings)

    def _arranged(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """As the function takes them; outputs in float64."""
        return real(outputs, self.name), like_outputs(outputs, targets, self.name)


class ElementLoss(TorchLoss):
    """Of each output and its own target."""

    def targets_per_sample(self, outputs: Tensor, targets: Tensor) -> float:
        """Outputs of a sample, where the loss is their squared error."""
        return outputs[0].numel() if self.function is F.mse_loss else 1.0

    def is_likelihood(self, targets: Tensor) -> bool:
        """Squared errors, whose model is Gaussian of variance 1/2."""
        return self.function is F.mse_loss

    def _errors(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Of labels that are 0 or 1 (-1 or 1): the share that the output lies on the other side of."""
        if self.function not in _BORDERS:
            return None
        border, negative = _BORDERS[self.function]
        labels = like_outputs(outputs, targets, self.name)
        if not ((labels == negative) | (labels == 1)).all():
            return None
        return mean_of_each(((outputs > border) != (labels == 1)).double())


# by loss, the output above which the answer is 1, and the label of the other answer
_BORDERS: dict[Function, tuple[float, float]] = {
    F.binary_cross_entropy: (0.5, 0.0),
    F.binary_cross_entropy_with_logits: (0.0, 0.0),
    F.multilabel_soft_margin_loss: (0.0, 0.0),
    F.soft_margin_loss: (0.0, -1.0),
}


class MarginLoss(TorchLoss):
    """multi_margin_loss, whose targets are classes, and multilabel_margin_loss, whose targets are lists of
    classes; both give one number for each sample.
    """

    def _arranged(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if self._of_classes:
            outputs, targets = classes_second(outputs, targets, self.name)
        return real(outputs, self.name), targets

    def _errors(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        if not self._of_classes:
            return None
        outputs, targets = self._arranged(outputs, targets)
        return (outputs.argmax(dim=1) != targets).double()

    @property
    def _of_classes(self) -> bool:
        return self.function is F.multi_margin_loss


class ClassLoss(TorchLoss):
    """cross_entropy and nll_loss: v_n sums, over the T targets of a sample, what `none` gives for each, and
    w_n the weights of their classes; both over T. Ignored targets have the weight 0, probabilities of classes
    the weight 1.
    """

    def answers(self, targets: Tensor) -> Tensor:
        """Share of the targets that are not ignored."""
        return mean_of_each(self._kept(targets).double())

    def targets_per_sample(self, outputs: Tensor, targets: Tensor) -> float:
        """Of the samples with these targets, on average, without ignored ones."""
        each = outputs[0].numel() // outputs.shape[1] if targets.is_floating_point() else targets[0].numel()
        return each * float(self.answers(targets).mean())

    def is_likelihood(self, targets: Tensor) -> bool:
        """Cross-entropy whose classes weigh alike, with targets that are classes or add up to 1; with
        smooth labels, too.
        """
        if self.function is not F.cross_entropy or self.settings.get("weight") is not None:
            return False
        totals = targets.sum(dim=1) if targets.is_floating_point() else torch.ones(1)
        return bool(torch.allclose(totals, torch.ones_like(totals), atol=1e-3))

    def _arranged(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if targets.is_floating_point() and targets.shape == outputs.shape and outputs.dim() > 1:
            return real(outputs, self.name), targets.to(torch.float64)
        outputs, targets = classes_second(outputs, targets, self.name)
        return real(outputs, self.name), targets

    def _weights(self, targets: Tensor) -> Tensor:
        weight = self.settings.get("weight")
        if targets.is_floating_point() or weight is None:
            return self.answers(targets)
        kept = self._kept(targets)
        classes = targets.where(kept, 0)
        if not 0 <= int(classes.min()) <= int(classes.max()) < len(weight):
            raise ExperimentError(
                f"targets are {int(classes.min())} to {int(classes.max())} and the loss {self.name} has"
                f" weights of {len(weight)} classes, expected targets from 0 to {len(weight) - 1}"
            )
        return mean_of_each(weight.to(targets.device, torch.float64)[classes] * kept)

    def _errors(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        if targets.is_floating_point():
            return None
        return class_errors(*classes_second(outputs, targets, self.name), self._ignored)

    def _hint(self, outputs: Tensor, targets: Tensor) -> str:
        if targets.is_floating_point():
            return ""
        count = classes_second(outputs, targets, self.name)[0].shape[1]
        return (
            f"; expected targets from 0 to {count - 1}, of the outputs' {count} classes, or {self._ignored}"
        )

    def _kept(self, targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            return torch.ones_like(targets, dtype=torch.bool)
        return targets != self._ignored

    @property
    def _ignored(self) -> int:
        return int(self.settings.get("ignore_index", IGNORED))


def class_errors(outputs: Tensor, targets: Tensor, ignored: int = IGNORED) -> Tensor:
    """Share of each sample's targets whose class has not the greatest output, float64 (N,), ignored ones
    being right; classes are the outputs' second axis.
    """
    return mean_of_each(((outputs.argmax(dim=1) != targets) & (targets != ignored)).double())


_KINDS: dict[Function, type[TorchLoss]] = {
    F.cross_entropy: ClassLoss,
    F.nll_loss: ClassLoss,
    F.multi_margin_loss: MarginLoss,
    F.multilabel_margin_loss: MarginLoss,
    F.mse_loss: ElementLoss,
    F.l1_loss: ElementLoss,
    F.smooth_l1_loss: ElementLoss,
    F.huber_loss: ElementLoss,
    F.binary_cross_entropy: ElementLoss,
    F.binary_cross_entropy_with_logits: ElementLoss,
    F.kl_div: ElementLoss,
    F.poisson_nll_loss: ElementLoss,
    F.soft_margin_loss: ElementLoss,
    F.hinge_embedding_loss: ElementLoss,
    F.multilabel_soft_margin_loss: ElementLoss,
}
_MODULES: dict[type[nn.Module], Function] = {
    nn.CrossEntropyLoss: F.cross_entropy,
    nn.NLLLoss: F.nll_loss,
    nn.MultiMarginLoss: F.multi_margin_loss,
    nn.MultiLabelMarginLoss: F.multilabel_margin_loss,
    nn.MSELoss: F.mse_loss,
    nn.L1Loss: F.l1_loss,
    nn.SmoothL1Loss: F.smooth_l1_loss,
    nn.HuberLoss: F.huber_loss,
    nn.BCELoss: F.binary_cross_entropy,
    nn.BCEWithLogitsLoss: F.binary_cross_entropy_with_logits,
    nn.KLDivLoss: F.kl_div,
    nn.PoissonNLLLoss: F.poisson_nll_loss,
    nn.SoftMarginLoss: F.soft_margin_loss,
    nn.HingeEmbeddingLoss: F.hinge_embedding_loss,
    nn.MultiLabelSoftMarginLoss: F.multilabel_soft_margin_loss,
}
_OLD_REDUCTIONS = {"size_average", "reduce"}


def torch_loss(loss: Any, name: str) -> TorchLoss | None:
    """One of torch's losses, as a module, as a function, or as a functools.partial of a function with
    keyword arguments; None where it is none of them.

    Raises:
        ExperimentError: its reduction is no mean over samples.
    """
    function, settings = _function(loss)
    if function not in _KINDS or _OLD_REDUCTIONS & settings.keys():
        return None
    reduction = settings.pop("reduction", "mean")
    weighted = _KINDS[function] is ClassLoss and settings.get("weight") is not None
    if reduction not in ("mean", "batchmean", "none") or (reduction == "none" and weighted):
        raise ExperimentError(
            f"the loss {name} has reduction={reduction!r}, {_reason(reduction)}, expected"
            f" {_expected(function)}; for another average hand over a function of outputs and targets that"
            " returns one loss for each sample"
        )
    return _KINDS[function](
        name=name,
        function=function,
        settings=settings,
        reduction="batchmean" if reduction == "batchmean" else "mean",
    )


def _function(loss: Any) -> tuple[Any, dict[str, Any]]:
    if isinstance(loss, partial) and not loss.args:
        return loss.func, dict(loss.keywords)
    if not isinstance(loss, nn.Module):
        return loss if callable(loss) else None, {}
    function = next((known for kind, known in _MODULES.items() if type(loss).forward is kind.forward), None)
    if function is None or not _is_called_plainly(loss):
        return None, {}
    takes = set(signature(function).parameters) - _OLD_REDUCTIONS
    return function, {name: getattr(loss, name) for name in takes if hasattr(loss, name)}


def _is_called_plainly(module: nn.Module) -> bool:
    """Whether a call of it is its class's `forward`, and nothing besides."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return type(module).__call__ is nn.Module.__call__ and "forward" not in vars(module) and not hooks


def _reason(reduction: str) -> str:
    if reduction == "sum":
        return "a number that grows with the count of samples"
    if reduction == "none":
        return "which does not say whether a mean is to be divided by the weights of the classes"
    return "which torch does not have"


def _expected(function: Function) -> str:
    return "reduction='mean' or 'batchmean'" if function is F.kl_div else "reduction='mean'"


def _like(outputs: Tensor, value: Any) -> Any:
    """Weights in the outputs' type and on their device; whatever is no tensor as it is."""
    if not isinstance(value, Tensor):
        return value
    return value.detach().to(outputs.device, outputs.dtype)
