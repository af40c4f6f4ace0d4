"""The loss of a network on whole splits of any data, in one process; what does not fit together is told in
one line.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lossmap.components.config.manifest import Manifest
from lossmap.components.core.progress import Progress, silent
from lossmap.components.data.batches import as_inputs
from lossmap.components.importing.batch_losses import BatchCall
from lossmap.components.landscape.calls import call_of
from lossmap.components.landscape.forward import detached_outputs
from lossmap.components.landscape.losses.checks import check_average, check_loss
from lossmap.components.landscape.losses.loss import IGNORED, Loss
from lossmap.components.landscape.objective import like_parameters

_BATCH = 256  # samples at most, and fewer where one sample's inputs or outputs are many numbers:
_BATCH_NUMBERS = 2**24
_CHECKED = 64  # samples on which it is seen whether the loss is a mean over samples


@dataclass(frozen=True)
class Evaluated:
    """A network's loss on samples.

    Attributes:
        loss: the mean.
        error: share of wrong answers; None where targets are no classes.
        count: number of samples.
        losses: what each sample adds to the loss, of scale 1: (count,), float64.
    """

    loss: float | None
    error: float | None
    count: int
    losses: Tensor


class Evaluation:
    """Mean loss and share of wrong answers, computed on a GPU where there is one.

    Args:
        network: in evaluation mode.
        loss: averaged as it says.
        manifest: of the packed data set.
        progress: called with (samples done, samples, "").
    """

    def __init__(self, network: nn.Module, loss: Loss, manifest: Manifest, progress: Progress = silent):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._network, self._loss = network.to(self.device), loss
        self._manifest, self._progress = manifest, progress
        self._done = 0

    def of(self, inputs: Tensor, targets: Tensor) -> Evaluated:
        """On samples as they were packed.

        Raises:
            ExperimentError: network, loss and data do not fit together, or the loss is no mean over samples.
        """
        size = self._batch_size(inputs, targets)
        loss = self._loss.over(targets)
        parts, missed = zip(
            *(
                self._batch(loss, *batch)
                for batch in zip(inputs.split(size), targets.split(size), strict=True)
            ),
            strict=True,
        )
        losses = torch.cat(parts)
        return Evaluated(
            float(losses.mean()), self._error(missed, targets), len(targets), losses / loss.scale
        )

    def _batch_size(self, inputs: Tensor, targets: Tensor) -> int:
        """After a try with one sample, and one with a few."""
        outputs = self._outputs(inputs[:1])
        size = max(1, min(_BATCH, _BATCH_NUMBERS // max(outputs.numel(), inputs[0].numel(), 1)))
        few = _some(targets, min(size, _CHECKED))
        check_loss(self._loss, self._outputs(inputs[few]), targets[few].to(self.device))
        return size

    def _batch(self, loss: Loss, packed: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        inputs, targets = self._inputs(packed), targets.to(self.device)
        outputs = detached_outputs(self._network, inputs)
        losses, missed = loss(outputs, targets), loss.errors(outputs, targets)
        check_average(loss, outputs, targets, losses)
        call = call_of(self._network)
        if isinstance(call, BatchCall):
            call.check_average(self._network, inputs, outputs)
        self._done += len(targets)
        self._progress(self._done, self._manifest.count("train") + self._manifest.count("test"), "")
        return losses.cpu(), None if missed is None else missed.cpu()

    def _error(self, missed: tuple[Tensor | None, ...], targets: Tensor) -> float | None:
        known = [part for part in missed if part is not None]
        answers = float(self._loss.answers(targets).sum())
        return float(torch.cat(known).sum()) / answers if len(known) == len(missed) and answers else None

    def _outputs(self, packed: Tensor) -> Tensor:
        return detached_outputs(self._network, self._inputs(packed))

    def _inputs(self, packed: Tensor) -> Tensor:
        return like_parameters(as_inputs(packed.to(self.device), self._manifest), self._network)


def _some(targets: Tensor, count: int) -> Tensor:
    """Places of at most that many samples, from the whole split, which may be in the order of its classes; up
    to half of them have ignored targets, where there are such.
    """
    ignored = (targets == IGNORED).flatten(1).any(dim=1) if targets.dim() > 1 else targets == IGNORED
    half = _spread(ignored.nonzero().flatten(), count // 2)
    others = _spread((~ignored).nonzero().flatten(), count - len(half))
    return torch.cat([half, others]).sort().values


def _spread(places: Tensor, count: int) -> Tensor:
    """As many of the places, evenly."""
    chosen = torch.linspace(0, len(places) - 1, min(count, len(places)), dtype=torch.float64)
    return places[chosen.long()]
